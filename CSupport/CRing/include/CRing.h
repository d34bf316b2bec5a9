#ifndef CRing_H
#define CRing_H
#endif

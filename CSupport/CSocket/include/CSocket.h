#ifndef CSocket_H
#define CSocket_H
#endif

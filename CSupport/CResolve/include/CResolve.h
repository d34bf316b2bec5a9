#ifndef CResolve_H
#define CResolve_H
#endif

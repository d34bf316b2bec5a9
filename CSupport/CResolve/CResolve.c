#include "CResolve.h"

#include "CRing.h"

// The instruction set in use.

#ifndef INGOT_LEVELS_DISPATCH_H
#define INGOT_LEVELS_DISPATCH_H

#include "table.h"

/// The table of the instruction set in use.
const struct ingot_table *ingot_active_table(void);

#endif

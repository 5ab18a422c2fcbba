/* Chooses the vector kernels for the CPU, once. */
#include <string.h>

#include "internal.h"

/* In the order of preference, the last one first; the first one runs everywhere. */
#if defined(__x86_64__)
extern const moe_unit moe_unit_sse2, moe_unit_avx2, moe_unit_avx512;
static const moe_unit *const UNITS[] = {&moe_unit_sse2, &moe_unit_avx2, &moe_unit_avx512};
#else
extern const moe_unit moe_unit_portable;
static const moe_unit *const UNITS[] = {&moe_unit_portable};
#endif

enum { N_UNITS = sizeof UNITS / sizeof *UNITS };

static const moe_unit *in_use = NULL;

static int runs_here(int unit)
{
#if defined(__x86_64__)
    if (unit == 1)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (unit == 2)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl");
#endif
    return unit == 0;
}

const char *moe_instruction_set(int index)
{
    for (int unit = 0; unit < N_UNITS; unit++)
        if (runs_here(unit) && index-- == 0)
            return UNITS[unit]->name;
    return NULL;
}

int moe_use_instruction_set(const char *name)
{
    for (int unit = N_UNITS - 1; unit >= 0; unit--)
        if (runs_here(unit) && (name == NULL || strcmp(name, UNITS[unit]->name) == 0)) {
            in_use = UNITS[unit];
            return 1;
        }
    return 0;
}

const moe_unit *moe_in_use(void)
{
    return in_use != NULL ? in_use : UNITS[0];
}

const char *moe_instruction_set_in_use(void)
{
    return moe_in_use()->name;
}

int moe_all_finite(const double *x, ptrdiff_t count)
{
    return moe_in_use()->all_finite(x, count);
}

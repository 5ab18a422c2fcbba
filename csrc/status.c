/* Says what each status means. */
#include "moenoise.h"

const char *moe_status_message(moe_status status)
{
    switch (status) {
    case MOE_OK: return "done";
    case MOE_INTERRUPTED: return "interrupted";
    case MOE_NOT_POSITIVE_SEMIDEFINITE: return "the matrix is not positive semidefinite";
    case MOE_NOT_POSITIVE_DEFINITE: return "the matrix is not positive definite";
    case MOE_NOT_FINITE: return "X and Y must be finite";
    case MOE_ILL_CONDITIONED:
        return "X is rank-deficient or too ill-conditioned for the normal equations: use method='orthogonal'";
    case MOE_NO_CONVERGENCE: return "the singular value iteration did not converge: use method='orthogonal'";
    }
    return "unknown status";
}

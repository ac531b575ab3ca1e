#ifndef COMMON_OPTIMIZER_H
#define COMMON_OPTIMIZER_H

/* optimizer - what one step's gradient does to a range of weights.
 *
 *     g  = grad * grad_scale + weight_decay * w + l1 * sign(w)       (adamw: without weight_decay)
 *     sgd        w' = w - rate * g
 *     momentum   v' = momentum * v + g;   w' = w - rate * v'
 *     nesterov   v' = momentum * v + g;   w' = w - rate * (g + momentum * v')
 *     adam       m' = beta1 * m + (1 - beta1) * g;   s' = beta2 * s + (1 - beta2) * g^2
 *                w' = w - rate * (m' / (1 - beta1^t)) / (sqrt(s' / (1 - beta2^t)) + epsilon)
 *     adamw      adam with w first shrunk by (1 - rate * weight_decay)
 *
 * t = step + 1; all state is zero before the first step.
 *
 * Shapes:   every array: [count] f32.
 * Owner:    the caller of all arrays.  Thread: no state.
 * Memory:   none taken.
 * Source:   Polyak 1964; Sutskever et al. 2013, section 2; Kingma & Ba 2015, algorithm 1;
 *           Loshchilov & Hutter 2019, algorithm 2.
 * Surprise: each element is computed alone, so the bits do not depend on where a vector is cut.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/settings.h"

enum { OPTIMIZER_STATES_MAX = 2 };

/* One call's arrays, none of which overlap but for weights_out, which may be weights itself, and
 * what is particular to this step. */
struct update {
    const float *weights;
    const float *grad;                  /* sum over the step's samples */
    const float *grad2;                 /* to be added to grad; NULL: nothing is */
    float grad_scale;                   /* 1 / samples of the step */
    float *state[OPTIMIZER_STATES_MAX]; /* updated in place; the first optimizer_state_count */
    float *weights_out;
    size_t count;
    bool has_decay; /* weight_decay and l1 apply (tensor_spec.has_decay) */
    uint64_t step;  /* 0 for the first */
    float rate;     /* schedule_rate of this step */
};

/* Arrays of state that a weight needs: 0, 1 or 2. */
size_t optimizer_state_count(enum optimizer_kind kind);

/* "momentum"; "exp_avg", "exp_avg_sq": the names PyTorch gives them.  idx < state count.  Static.
 */
const char *optimizer_state_name(enum optimizer_kind kind, size_t idx);

/* "sgd", "adam", ... as in the job file.  Static. */
const char *optimizer_kind_text(enum optimizer_kind kind);

/* out = keep * weights + scale * (grad + grad2): what becomes of a running mean.  Of update only
 * weights, grad, grad2, weights_out and count are looked at. */
void optimizer_average(const struct update *update, float keep, float scale);

/* Takes one step. */
void optimizer_apply(const struct settings *settings, const struct update *update);

#endif

#ifndef DEPLOY_DOCTOR_DATA_LOOK_H
#define DEPLOY_DOCTOR_DATA_LOOK_H

/* data_look - opens the job's data and plans its model as a worker does, in a process of its own.
 *
 * So a data set that takes minutes to read, or brings a reader down, holds up nobody.
 *
 * Owner:    cmd_doctor.  Thread: the main one; begin it before any other is started.
 * Memory:   the child's.
 * Surprise: forks.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "common/settings.h"

enum data_state {
    DATA_UNASKED, /* nobody began */
    DATA_GOOD,
    DATA_BAD,   /* why says so */
    DATA_SLOW,  /* not done in time */
    DATA_BROKEN /* the child died: why says of what */
};

struct data_look {
    enum data_state state;
    bool is_model; /* DATA_BAD: the model, not the data, is what is bad */
    char why[1024];
    uint64_t train_count, test_count;  /* samples */
    uint64_t input_count, label_count; /* numbers a sample */
    uint64_t weight_count, block_count;
    uint64_t run_bytes; /* activations of one thread */
    uint64_t took_ms;
    pid_t pid; /* of the child; 0: none */
    int fd;    /* where it says what it found */
};

void data_look_begin(struct data_look *look, const struct settings *settings);

/* Waits for it; what is not done then is ended. */
void data_look_end(struct data_look *look, unsigned timeout_ms);

#endif

#ifndef DEPLOY_DOCTOR_LOAD_H
#define DEPLOY_DOCTOR_LOAD_H

/* load - how busy the cores are that this process may use, measured for a moment.
 *
 * Owner:    values.  Thread: the calling one, which sleeps meanwhile.
 * Source:   proc_stat(5), sched_getaffinity(2), sysfs cpu/cpuN/topology.
 * Surprise: none.
 */
#include <stdint.h>

struct load {
    unsigned core_count;     /* logical ones that this process may run on */
    unsigned machine_count;  /* that the machine has online */
    unsigned physical_count; /* of core_count, told apart by who shares an execution unit; 0: ? */
    double busy;             /* share of core_count that others used; < 0: not known */
    double stolen;           /* share that the hypervisor gave to other machines */
    double average;          /* of the last minute: tasks that run or wait; < 0: not known */
};

struct load load_measure(unsigned window_ms);

#endif

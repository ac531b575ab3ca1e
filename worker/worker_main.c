/* talweg-worker - computes lanes: data and weights in, gradients out. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "common/launch.h"
#include "common/log.h"
#include "common/random.h"
#include "common/role.h"
#include "common/usage.h"
#include "worker/compute.h"
#include "worker/step_memory.h"
#include "worker/nn/gemm.h"
#include "worker/nn/gemm_parts.h"
#include "worker/nn/kernel_choice.h"
#include "worker/worker_loop.h"

static volatile sig_atomic_t is_asked_to_stop;

static void on_signal(int number)
{
    (void)number;
    is_asked_to_stop = 1;
}

/* All that a worker works with; each part is NULL until it is made. */
struct workshop {
    struct settings *settings;
    struct dataset *train, *test;
    struct graph *graph;
    struct layout *layout;
    struct courier *courier;
    struct compute *compute;
    struct exchange *exchange;
    struct transport *transport;
};

static int open_data(struct workshop *shop, struct err_msg *why)
{
    int err = dataset_open(shop->settings, DATASET_TRAIN, &shop->train, why);
    if (err != 0)
        return err;
    err = dataset_open_test(shop->settings, shop->train, &shop->test, why);
    if (err != ERR_NOT_FOUND)
        return err;
    *why = (struct err_msg){0}; /* a job without a test part is none the worse */
    return 0;
}

static int plan_model(struct workshop *shop, struct err_msg *why)
{
    const struct dataset_info *info = dataset_info(shop->train);
    struct graph_input input = {.dims = info->dims,
                                .label_count = info->label_count,
                                .class_count = info->class_count,
                                .token_count = info->token_count};
    memcpy(input.shape, info->shape, sizeof(input.shape));
    int err = graph_create(&shop->settings->model, &input, &shop->graph, why);
    if (err != 0)
        return err;
    return layout_create(graph_tensors(shop->graph), graph_tensor_count(shop->graph),
                         shop->settings->exchange.block_bytes, &shop->layout, why);
}

static int start_compute(struct workshop *shop, struct err_msg *why)
{
    if (!gemm_has_room(shop->settings->worker.threads))
        return err_set(why, ERR_NOMEM,
                       "no address space for the matrix products of %u threads: a larger ulimit -v "
                       "or fewer worker.threads may help",
                       shop->settings->worker.threads);
    struct compute_spec spec = {.settings = shop->settings,
                                .graph = shop->graph,
                                .layout = shop->layout,
                                .train = shop->train,
                                .test = shop->test,
                                .pool = courier_pool(shop->courier)};
    return compute_create(&spec, &shop->compute, why);
}

/* Says what steps will take; returns the sum. */
static uint64_t plan_memory(const struct workshop *shop)
{
    struct step_memory plan =
        step_memory_of(shop->settings, shop->layout, dataset_info(shop->train),
                       compute_activation_bytes(shop->compute));
    log_event(LOG_INFO, "memory",
              "step=%llu activations=%llu weights=%llu gradients=%llu samples=%llu",
              (unsigned long long)step_memory_total(&plan), (unsigned long long)plan.activations,
              (unsigned long long)plan.weights, (unsigned long long)plan.gradients,
              (unsigned long long)plan.samples);
    return step_memory_total(&plan);
}

static int start_exchange(struct workshop *shop, const struct launch *launch,
                          uint64_t incarnation, struct err_msg *why)
{
    struct exchange_spec spec = {.settings = shop->settings,
                                 .incarnation = incarnation,
                                 .pool = courier_pool(shop->courier)};
    struct hello *hello = &spec.hello;
    hello->rank = launch->rank;
    hello->pid = (uint32_t)getpid();
    usage_host(hello->host, sizeof(hello->host));
    snprintf(hello->door, sizeof(hello->door), "%s", courier_door(shop->courier));
    snprintf(hello->version, sizeof(hello->version), "%s", TALWEG_VERSION);
    snprintf(hello->kernels, sizeof(hello->kernels), "%s", gemm_kernels());
    hello->thread_count = shop->settings->worker.threads;
    hello->train_count = dataset_info(shop->train)->count;
    hello->test_count = shop->test == NULL ? 0 : dataset_info(shop->test)->count;
    hello->layout = shop->layout;
    hello->planned_bytes = plan_memory(shop);
    int err = settings_fingerprint(shop->settings, hello->fingerprint);
    if (err == 0)
        err = exchange_create(&spec, &shop->exchange);
    return err == 0 ? 0 : err_set(why, err, "cannot begin the exchange: %s", err_text(err));
}

static int start_courier(struct workshop *shop, uint64_t incarnation, struct err_msg *why)
{
    bool is_sharing = shop->settings->exchange.shared_memory;
    const char *folder = is_sharing ? shop->settings->exchange.shared_folder : NULL;
    int err = courier_create(incarnation, folder, &shop->courier);
    return err == 0 ? 0 : err_set(why, err, "cannot start a courier: %s", err_text(err));
}

static int work(struct workshop *shop, struct launch *launch, struct err_msg *why)
{
    uint64_t incarnation;
    enum run_state state;
    struct outcome end = {0};
    int err = launch_reach(launch, shop->settings, &is_asked_to_stop, &state, why);
    if (err != 0 || state == RUN_FINISHED)
        return err;
    err = random_bytes(&incarnation, sizeof(incarnation));
    if (err != 0)
        return err_set(why, err, "no random numbers from the system");
    err = role_open_transport(launch, shop->settings, &shop->transport, why);
    if (err == 0)
        err = open_data(shop, why);
    if (err == 0)
        err = plan_model(shop, why);
    if (err == 0)
        err = start_courier(shop, incarnation, why);
    if (err == 0)
        err = start_compute(shop, why);
    if (err == 0)
        err = start_exchange(shop, launch, incarnation, why);
    if (err != 0)
        return err;
    struct worker_loop_spec loop = {.transport = shop->transport,
                                    .coordinator = launch->coordinator,
                                    .run = &launch->run,
                                    .exchange = shop->exchange,
                                    .compute = compute_computing(shop->compute),
                                    .courier = shop->courier,
                                    .incarnation = incarnation,
                                    .is_asked_to_stop = &is_asked_to_stop};
    if (shop->settings->model.products == PRODUCTS_BF16X3 && !gemm_has_tiles())
        log_event(LOG_WARN, "products_without_tiles",
                  "model.products=bf16x3 is many times slower than f32 on this processor, which "
                  "has no AMX; its bits are the same");
    log_event(LOG_INFO, "begin", "coordinator=%s samples=%llu weights=%zu", launch->coordinator,
              (unsigned long long)dataset_info(shop->train)->count,
              graph_weight_count(shop->graph));
    err = worker_loop_run(&loop, &end, why);
    return err != 0 || end.code == 0 ? err : err_set(why, end.code, "%s", end.text);
}

static void close_shop(struct workshop *shop)
{
    compute_destroy(shop->compute);
    exchange_destroy(shop->exchange);
    transport_destroy(shop->transport);
    courier_destroy(shop->courier);
    layout_destroy(shop->layout);
    graph_destroy(shop->graph);
    dataset_close(shop->test);
    dataset_close(shop->train);
    settings_destroy(shop->settings);
}

int main(int argc, char **argv)
{
    struct launch launch;
    struct workshop shop = {0};
    struct err_msg why = {0};
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t asked;
    sigemptyset(&asked);
    sigaddset(&asked, SIGTERM);
    sigaddset(&asked, SIGINT);
    sigprocmask(SIG_BLOCK, &asked, NULL); /* until this is the process that hears of it */
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    int err = launch_parse(LAUNCH_WORKER, argc, argv, &launch, &why);
    if (err == 0)
        err = launch_settings(&launch, &shop.settings, &why);
    if (err == 0)
        err = kernels_choose(shop.settings->worker.kernels, &why);
    sigprocmask(SIG_UNBLOCK, &asked, NULL);
    if (err == 0)
        err = role_begin(&launch, shop.settings, &why);
    if (err == 0)
        err = work(&shop, &launch, &why);
    int code = role_end(&launch, err, &why);
    close_shop(&shop);
    launch_release(&launch);
    return code;
}

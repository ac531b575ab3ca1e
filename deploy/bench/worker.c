#include "deploy/bench/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/launch.h"
#include "common/path.h"
#include "common/random.h"
#include "common/role.h"
#include "common/usage.h"
#include "deploy/bench/model.h"
#include "deploy/bench/stand_in.h"
#include "worker/worker_loop.h"

/* One sample for each lane of each step, and never an end of the first epoch. */
enum { SAMPLES = 1 << 30 };

enum { OWN_ARGUMENTS = 3 };

static volatile sig_atomic_t is_asked_to_stop;

static void on_signal(int number)
{
    (void)number;
    is_asked_to_stop = 1;
}

/* All that the worker works with; each part is NULL until it is made. */
struct shop {
    struct settings *settings;
    struct times *times;
    struct layout *layout;
    struct courier *courier;
    struct stand_in *stand_in;
    struct exchange *exchange;
    struct transport *transport;
    uint64_t incarnation;
};

static int open_times(struct shop *shop, const char *folder, int rank, struct err_msg *why)
{
    char name[32], path[PATH_MAX];
    snprintf(name, sizeof(name), "worker-%d.times", rank);
    int err = path_join(path, folder, name, why);
    if (err == 0)
        err = times_open(path, &shop->times, why);
    if (err == 0)
        times_await(shop->times, usage_now().rss_bytes);
    return err;
}

static int start_courier(struct shop *shop, struct err_msg *why)
{
    bool is_sharing = shop->settings->exchange.shared_memory;
    const char *folder = is_sharing ? shop->settings->exchange.shared_folder : NULL;
    int err = courier_create(shop->incarnation, folder, &shop->courier);
    return err == 0 ? 0 : err_set(why, err, "cannot start a courier: %s", err_text(err));
}

static int make_model(struct shop *shop, char *const *words, struct err_msg *why)
{
    enum bench_model model;
    if (bench_model_find(words[0], &model) != 0)
        return err_set(why, ERR_INPUT, "there is no model '%s'", words[0]);
    int err = bench_model_layout(model, strtoull(words[1], NULL, 10),
                                 shop->settings->exchange.block_bytes, &shop->layout, why);
    if (err == 0)
        err = stand_in_create(shop->layout, courier_pool(shop->courier), shop->times,
                              &shop->stand_in);
    if (err == ERR_NOMEM)
        err_set(why, err, "no memory for a gradient of the model");
    return err;
}

static int start_exchange(struct shop *shop, const struct launch *launch, struct err_msg *why)
{
    struct exchange_spec spec = {.settings = shop->settings,
                                 .incarnation = shop->incarnation,
                                 .pool = courier_pool(shop->courier)};
    struct hello *hello = &spec.hello;
    hello->rank = launch->rank;
    hello->pid = (uint32_t)getpid();
    usage_host(hello->host, sizeof(hello->host));
    snprintf(hello->version, sizeof(hello->version), "%s", TALWEG_VERSION);
    snprintf(hello->kernels, sizeof(hello->kernels), "none");
    snprintf(hello->door, sizeof(hello->door), "%s", courier_door(shop->courier));
    hello->thread_count = 1;
    hello->train_count = SAMPLES;
    hello->layout = shop->layout;
    int err = settings_fingerprint(shop->settings, hello->fingerprint);
    if (err == 0)
        err = exchange_create(&spec, &shop->exchange);
    if (err != 0)
        return err_set(why, err, "cannot begin the exchange: %s", err_text(err));
    return role_open_transport(launch, shop->settings, &shop->transport, why);
}

static int work(struct shop *shop, struct launch *launch, char *const *words,
                struct err_msg *why)
{
    struct outcome end = {0};
    int err = random_bytes(&shop->incarnation, sizeof(shop->incarnation));
    if (err != 0)
        return err_set(why, err, "no random numbers from the system");
    err = open_times(shop, words[2], launch->rank, why);
    if (err == 0)
        err = start_courier(shop, why);
    if (err == 0)
        err = make_model(shop, words, why);
    if (err == 0)
        err = start_exchange(shop, launch, why);
    if (err != 0)
        return err;
    struct worker_loop_spec loop = {.transport = shop->transport,
                                    .coordinator = launch->coordinator,
                                    .run = &launch->run,
                                    .exchange = shop->exchange,
                                    .compute = stand_in_computing(shop->stand_in),
                                    .courier = shop->courier,
                                    .incarnation = shop->incarnation,
                                    .is_asked_to_stop = &is_asked_to_stop};
    err = worker_loop_run(&loop, &end, why);
    return err != 0 || end.code == 0 ? err : err_set(why, end.code, "%s", end.text);
}

static void close_shop(struct shop *shop)
{
    exchange_destroy(shop->exchange);
    stand_in_destroy(shop->stand_in);
    transport_destroy(shop->transport);
    courier_destroy(shop->courier);
    layout_destroy(shop->layout);
    times_close(shop->times);
    settings_destroy(shop->settings);
}

int bench_worker(int argc, char **argv)
{
    struct launch launch;
    struct shop shop = {0};
    struct err_msg why = {0};
    struct sigaction action = {.sa_handler = on_signal};
    if (argc <= OWN_ARGUMENTS + 1) {
        fprintf(stderr, "%s: only `talweg bench exchange` starts it\n", argv[0]);
        return 2;
    }
    char *const *words = argv + 1;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    int err = launch_parse(LAUNCH_WORKER, argc - OWN_ARGUMENTS, argv + OWN_ARGUMENTS, &launch,
                           &why);
    if (err == 0)
        err = launch_settings(&launch, &shop.settings, &why);
    if (err == 0)
        err = role_begin(&launch, shop.settings, &why);
    if (err == 0)
        err = work(&shop, &launch, words, &why);
    int code = role_end(&launch, err, &why);
    close_shop(&shop);
    launch_release(&launch);
    return code;
}

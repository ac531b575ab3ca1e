/* talweg-ps - a server: runs one shard a thread, each with its own socket. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/launch.h"
#include "common/log.h"
#include "common/random.h"
#include "common/role.h"
#include "common/usage.h"
#include "ps/shard_loop.h"

static volatile sig_atomic_t is_asked_to_stop;

static void on_signal(int number)
{
    (void)number;
    is_asked_to_stop = 1;
}

struct shard_thread {
    struct shard_loop_spec spec;
    pthread_t thread;
    struct outcome end;
    struct err_msg why;
    int err;
};

static void *run_shard(void *arg)
{
    struct shard_thread *self = arg;
    self->err = shard_loop_run(&self->spec, &self->end, &self->why);
    if (self->err == 0 && self->end.code != 0)
        self->err = err_set(&self->why, self->end.code, "%s", self->end.text);
    if (self->err != 0)
        is_asked_to_stop = 1; /* half a server is of no use: the others give their blocks away */
    return NULL;
}

static int greet(const struct launch *launch, const struct settings *settings, uint32_t idx,
                 struct shard_thread *self)
{
    struct hello *hello = &self->spec.shard.hello;
    char reached[LAUNCH_ENDPOINT_BYTES];
    int err = launch_advertised(launch, channel_endpoint(self->spec.workers), idx, reached,
                                &self->why);
    if (err != 0)
        return err;
    if (strlen(reached) >= sizeof(hello->endpoint))
        return err_set(&self->why, ERR_INPUT, "the endpoint %s has more than %zu bytes", reached,
                       sizeof(hello->endpoint) - 1);
    memcpy(hello->endpoint, reached, strlen(reached) + 1);
    hello->rank = launch->rank;
    hello->shard_idx = idx;
    hello->shard_count = settings->cluster.shards;
    hello->pid = (uint32_t)getpid();
    usage_host(hello->host, sizeof(hello->host));
    snprintf(hello->version, sizeof(hello->version), "%s", TALWEG_VERSION);
    return settings_fingerprint(settings, hello->fingerprint);
}

/* Binds the shard's socket and starts its thread. */
static int start_shard(const struct launch *launch, const struct settings *settings, uint32_t idx,
                       struct transport *transport, struct shard_thread *self)
{
    char endpoint[LAUNCH_ENDPOINT_BYTES];
    self->spec.transport = transport;
    self->spec.coordinator = launch->coordinator;
    self->spec.run = launch->run;
    self->spec.shard.settings = settings;
    self->spec.is_asked_to_stop = &is_asked_to_stop;
    int err = random_bytes(&self->spec.shard.incarnation, sizeof(self->spec.shard.incarnation));
    if (err == 0)
        err = launch_bind_endpoint(launch, idx, endpoint, &self->why);
    if (err == 0)
        err = channel_bind(transport, endpoint, &self->spec.workers, &self->why);
    if (err != 0)
        return err;
    err = greet(launch, settings, idx, self);
    if (err == 0 && pthread_create(&self->thread, NULL, run_shard, self) != 0)
        err = err_set(&self->why, ERR_NOMEM, "cannot start a thread for shard %u", idx);
    if (err != 0)
        channel_destroy(self->spec.workers);
    return err;
}

static int serve(struct launch *launch, const struct settings *settings, struct err_msg *why)
{
    enum run_state state;
    int err = launch_reach(launch, settings, &is_asked_to_stop, &state, why);
    if (err != 0 || state == RUN_FINISHED)
        return err;
    log_event(LOG_INFO, "begin", "coordinator=%s bind=%s shards=%u", launch->coordinator,
              launch->bind, settings->cluster.shards);
    uint32_t count = settings->cluster.shards, started = 0;
    struct shard_thread *shards = calloc(count, sizeof(*shards));
    struct transport *transport = NULL;
    if (shards == NULL)
        return err_set(why, ERR_NOMEM, "no memory for %u shards", count);
    err = role_open_transport(launch, settings, &transport, why);
    while (err == 0 && started < count) {
        err = start_shard(launch, settings, started, transport, &shards[started]);
        if (err != 0)
            *why = shards[started].why;
        else
            started++;
    }
    if (err != 0)
        is_asked_to_stop = 1;
    for (uint32_t i = 0; i < started; i++) {
        pthread_join(shards[i].thread, NULL);
        if (err != 0 || shards[i].err == 0)
            continue;
        err = shards[i].err;
        *why = shards[i].why;
    }
    transport_destroy(transport);
    free(shards);
    return err;
}

int main(int argc, char **argv)
{
    struct launch launch;
    struct settings *settings = NULL;
    struct err_msg why = {0};
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    int err = launch_parse(LAUNCH_SERVER, argc, argv, &launch, &why);
    if (err == 0)
        err = launch_settings(&launch, &settings, &why);
    if (err == 0)
        err = role_begin(&launch, settings, &why);
    if (err == 0)
        err = serve(&launch, settings, &why);
    int code = role_end(&launch, err, &why);
    settings_destroy(settings);
    launch_release(&launch);
    return code;
}

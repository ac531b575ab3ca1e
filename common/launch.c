#include "common/launch.h"

#include <argp.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/endpoint.h"
#include "common/launcher.h"

enum { HOST_BYTES = 256, EXIT_STATUS_USAGE = 2 };

enum flag {
    FLAG_COORDINATOR = 'c',
    FLAG_BIND = 'b',
    FLAG_ADVERTISE = 'a',
    FLAG_RANK = 'r',
    FLAG_OUT = 'o',
    FLAG_RESUME = 0x100,
    FLAG_FRESH,
    FLAG_SERVERS,
    FLAG_WORKERS,
    FLAG_THREADS,
    FLAG_SET,
    FLAG_KEYS,
    FLAG_LOG
};

struct role_option {
    unsigned roles; /* which take it, a bit each */
    struct argp_option option;
};

#define COORDINATOR (1U << LAUNCH_COORDINATOR)
#define SERVER (1U << LAUNCH_SERVER)
#define WORKER (1U << LAUNCH_WORKER)

static const struct role_option role_options[] = {
    {SERVER | WORKER,
     {.name = "coordinator",
      .key = FLAG_COORDINATOR,
      .arg = "ADDR",
      .doc = "where the coordinator is: tcp://HOST:PORT, ipc://FILE, or its --out folder, with a "
             "slash in it, where it will say so itself (TALWEG_COORDINATOR)"}},
    {COORDINATOR | SERVER,
     {.name = "bind",
      .key = FLAG_BIND,
      .arg = "ADDR",
      .doc = "where to listen; port 0 takes any free one (TALWEG_BIND)"}},
    {COORDINATOR | SERVER,
     {.name = "advertise",
      .key = FLAG_ADVERTISE,
      .arg = "ADDR",
      .doc = "under which address others reach this process (TALWEG_ADVERTISE)"}},
    {SERVER | WORKER,
     {.name = "rank",
      .key = FLAG_RANK,
      .arg = "N",
      .doc =
          "its number among its kind, from 0 (TALWEG_RANK, or what Slurm, MPI or Kubernetes say); "
          "else, and when N is \"any\", the coordinator chooses"}},
    {COORDINATOR,
     {.name = "out", .key = FLAG_OUT, .arg = "DIR", .doc = "folder of the results; else ./out"}},
    {COORDINATOR,
     {.name = "resume", .key = FLAG_RESUME, .arg = "DIR", .doc = "go on from this checkpoint"}},
    {COORDINATOR,
     {.name = "fresh",
      .key = FLAG_FRESH,
      .doc = "begin anew whatever run OUT/journal holds"}},
    {WORKER,
     {.name = "threads",
      .key = FLAG_THREADS,
      .arg = "N",
      .doc = "sets worker.threads (else SLURM_CPUS_PER_TASK, where Slurm gives the rank)"}},
    {COORDINATOR | SERVER | WORKER,
     {.name = "servers", .key = FLAG_SERVERS, .arg = "N", .doc = "sets cluster.servers"}},
    {COORDINATOR | SERVER | WORKER,
     {.name = "workers", .key = FLAG_WORKERS, .arg = "N", .doc = "sets cluster.workers"}},
    {COORDINATOR | SERVER | WORKER,
     {.name = "keys",
      .key = FLAG_KEYS,
      .arg = "DIR",
      .doc = "folder of keys made by `talweg keygen`; sets cluster.keys (TALWEG_KEYS)"}},
    {COORDINATOR | SERVER | WORKER,
     {.name = "set",
      .key = FLAG_SET,
      .arg = "PATH=VALUE",
      .doc = "a setting in place of the job file's; `talweg settings` lists them"}},
    {COORDINATOR | SERVER | WORKER,
     {.name = "log", .key = FLAG_LOG, .arg = "FILE", .doc = "where the log goes; else to stderr"}},
};

static const struct role_text {
    const char *name, *version, *doc;
} role_texts[] = {
    [LAUNCH_COORDINATOR] = {"coordinator", "talweg-coordinator " TALWEG_VERSION,
                            "The process that knows who is there: deals lanes, keeps checkpoints, "
                            "answers `talweg status`."},
    [LAUNCH_SERVER] = {"ps", "talweg-ps " TALWEG_VERSION,
                       "A parameter server: turns gradients into weights."},
    [LAUNCH_WORKER] = {"worker", "talweg-worker " TALWEG_VERSION,
                       "A worker: turns data into gradients."},
};

static const char keys_path[] = "cluster.keys";

struct parse {
    struct launch *launch;
    struct err_msg *why;
    int err;
};

const char *launch_role_name(enum launch_role role)
{
    return role_texts[role].name;
}

static int keep_text(char **field, const char *text, struct err_msg *why)
{
    char *copy = strdup(text);
    if (copy == NULL)
        return err_set(why, ERR_NOMEM, "out of memory");
    free(*field);
    *field = copy;
    return 0;
}

/* host:port as people type it, without a scheme; an IPv6 host stands in brackets. */
static bool is_host_and_port(const char *text)
{
    const char *colon = strrchr(text, ':');
    bool is_one_colon = colon != NULL && (colon == strchr(text, ':') || colon[-1] == ']');
    return strstr(text, "://") == NULL && is_one_colon && colon != text && colon[1] != '\0' &&
           strspn(colon + 1, "0123456789*") == strlen(colon + 1);
}

/* An address as a person gave it: host:port means TCP, a path a socket. */
static int keep_endpoint(char field[LAUNCH_ENDPOINT_BYTES], const char *origin, const char *text,
                         struct err_msg *why)
{
    if (strlen(text) >= LAUNCH_ENDPOINT_BYTES - strlen("tcp://"))
        return err_set(why, ERR_INPUT, "%s: found %zu bytes, expected an address of at most %d",
                       origin, strlen(text), LAUNCH_ENDPOINT_BYTES - 7);
    const char *scheme = text[0] == '/' ? "ipc://" : is_host_and_port(text) ? "tcp://" : "";
    snprintf(field, LAUNCH_ENDPOINT_BYTES, "%s%s", scheme, text);
    return 0;
}

static int keep_rank(struct launch *launch, const char *origin, const char *text,
                     struct err_msg *why)
{
    launch->is_any_rank = strcmp(text, "any") == 0;
    return launch->is_any_rank ? 0 : launcher_rank(origin, text, &launch->rank, why);
}

/* Where the coordinator is, or a path at which that will be found. */
static int keep_coordinator(struct launch *launch, const char *origin, const char *text,
                            struct err_msg *why)
{
    if (!run_file_is_path(text))
        return keep_endpoint(launch->coordinator, origin, text, why);
    int bytes = snprintf(launch->run.path, sizeof(launch->run.path), "%s", text);
    if (bytes >= (int)sizeof(launch->run.path))
        return err_set(why, ERR_INPUT, "%s: found a path of %d bytes, expected at most %zu", origin,
                       bytes, sizeof(launch->run.path) - 1);
    return 0;
}

static int add_set(struct launch *launch, const char *path, const char *value, struct err_msg *why)
{
    if (launch->set_count == LAUNCH_SETS_MAX)
        return err_set(why, ERR_INPUT, "--set: found more than %d", LAUNCH_SETS_MAX);
    char *set = NULL;
    int bytes = path == NULL ? asprintf(&set, "%s", value) : asprintf(&set, "%s=%s", path, value);
    if (bytes < 0)
        return err_set(why, ERR_NOMEM, "out of memory");
    launch->sets[launch->set_count++] = set;
    return 0;
}

static int keep_flag(struct parse *parse, int key, const char *text)
{
    struct launch *launch = parse->launch;
    switch (key) {
    case FLAG_COORDINATOR:
        return keep_coordinator(launch, "--coordinator", text, parse->why);
    case FLAG_BIND:
        return keep_endpoint(launch->bind, "--bind", text, parse->why);
    case FLAG_ADVERTISE:
        return keep_endpoint(launch->advertise, "--advertise", text, parse->why);
    case FLAG_RANK:
        return keep_rank(launch, "--rank", text, parse->why);
    case FLAG_OUT:
        return keep_text(&launch->out, text, parse->why);
    case FLAG_RESUME:
        return keep_text(&launch->resume, text, parse->why);
    case FLAG_FRESH:
        launch->is_fresh = true;
        return 0;
    case FLAG_LOG:
        return keep_text(&launch->log, text, parse->why);
    case FLAG_SERVERS:
        return add_set(launch, "cluster.servers", text, parse->why);
    case FLAG_WORKERS:
        return add_set(launch, "cluster.workers", text, parse->why);
    case FLAG_KEYS:
        return add_set(launch, keys_path, text, parse->why);
    case FLAG_THREADS:
        return add_set(launch, "worker.threads", text, parse->why);
    default:
        return add_set(launch, NULL, text, parse->why);
    }
}

static error_t parse_flag(int key, char *text, struct argp_state *state)
{
    struct parse *parse = state->input;
    switch (key) {
    case ARGP_KEY_ARG:
        if (parse->launch->job != NULL)
            argp_error(state, "found a second job file: %s", text);
        parse->err = keep_text(&parse->launch->job, text, parse->why);
        break;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which job? give the path of a job file");
        break;
    case ARGP_KEY_INIT:
    case ARGP_KEY_END:
    case ARGP_KEY_SUCCESS:
    case ARGP_KEY_ERROR:
    case ARGP_KEY_FINI:
    case ARGP_KEY_ARGS:
        return ARGP_ERR_UNKNOWN;
    default:
        parse->err = keep_flag(parse, key, text);
        break;
    }
    return parse->err == 0 ? 0 : ECANCELED;
}

static bool has_set(const struct launch *launch, const char *path)
{
    size_t length = strlen(path);
    for (size_t i = 0; i < launch->set_count; i++)
        if (strncmp(launch->sets[i], path, length) == 0 && launch->sets[i][length] == '=')
            return true;
    return false;
}

static int find_place(struct launch *launch, struct err_msg *why)
{
    const char *rank = launcher_variable("TALWEG_RANK");
    struct launcher_place place;
    int err = 0;
    if (launch->role == LAUNCH_COORDINATOR)
        return 0;
    if (launch->rank < 0 && !launch->is_any_rank && rank != NULL)
        err = keep_rank(launch, "TALWEG_RANK", rank, why);
    if (err != 0 || launch->rank >= 0)
        return err;
    err = launcher_read(&place, why);
    if (err == 0 && !launch->is_any_rank)
        launch->rank = place.rank;
    if (err != 0 || place.cores == NULL || launch->role != LAUNCH_WORKER ||
        has_set(launch, "worker.threads"))
        return err;
    return add_set(launch, "worker.threads", place.cores, why);
}

static int fill_endpoint(char field[LAUNCH_ENDPOINT_BYTES], const char *name, struct err_msg *why)
{
    if (field[0] != '\0' || launcher_variable(name) == NULL)
        return 0;
    return keep_endpoint(field, name, launcher_variable(name), why);
}

static bool has_coordinator(const struct launch *launch)
{
    return launch->coordinator[0] != '\0' || launch->run.path[0] != '\0';
}

static int find_keys(struct launch *launch, struct err_msg *why)
{
    const char *folder = launcher_variable("TALWEG_KEYS");
    return folder == NULL || has_set(launch, keys_path) ? 0
                                                        : add_set(launch, keys_path, folder, why);
}

static int read_environment(struct launch *launch, struct err_msg *why)
{
    int err = 0;
    const char *coordinator = launcher_variable("TALWEG_COORDINATOR");
    if (launch->role != LAUNCH_COORDINATOR && coordinator != NULL && !has_coordinator(launch))
        err = keep_coordinator(launch, "TALWEG_COORDINATOR", coordinator, why);
    if (err == 0 && launch->role != LAUNCH_WORKER)
        err = fill_endpoint(launch->bind, "TALWEG_BIND", why);
    if (err == 0 && launch->role != LAUNCH_WORKER)
        err = fill_endpoint(launch->advertise, "TALWEG_ADVERTISE", why);
    if (err == 0)
        err = find_keys(launch, why);
    return err == 0 ? find_place(launch, why) : err;
}

int launch_parse(enum launch_role role, int argc, char **argv, struct launch *launch_out,
                 struct err_msg *why)
{
    struct argp_option options[ARRAY_LEN(role_options) + 1] = {{0}};
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(role_options); i++) {
        if ((role_options[i].roles >> role & 1U) != 0)
            options[count++] = role_options[i].option;
    }
    *launch_out = (struct launch){.role = role, .rank = -1};
    struct parse parse = {.launch = launch_out, .why = why};
    struct argp argp = {
        .options = options, .parser = parse_flag, .args_doc = "JOB", .doc = role_texts[role].doc};
    argp_program_version = role_texts[role].version;
    argp_err_exit_status = EXIT_STATUS_USAGE;
    error_t failed = argp_parse(&argp, argc, argv, 0, NULL, &parse);
    if (parse.err != 0)
        return parse.err;
    if (failed != 0)
        return err_set(why, ERR_NOMEM, "cannot read the command line: %s", strerror(failed));
    if (role == LAUNCH_COORDINATOR && launch_out->out == NULL) {
        int err = keep_text(&launch_out->out, "out", why);
        if (err != 0)
            return err;
    }
    return read_environment(launch_out, why);
}

void launch_release(struct launch *launch)
{
    free(launch->job);
    free(launch->out);
    free(launch->resume);
    free(launch->log);
    for (size_t i = 0; i < launch->set_count; i++)
        free(launch->sets[i]);
    *launch = (struct launch){.role = launch->role, .rank = -1};
}

struct tcp {
    char host[HOST_BYTES]; /* without brackets */
    unsigned port;
};

/* False when it is no tcp endpoint of the form that endpoint_check passes. */
static bool split_tcp(const char *endpoint, struct tcp *tcp_out)
{
    const char *begin = endpoint + strlen("tcp://");
    if (strncmp(endpoint, "tcp://", strlen("tcp://")) != 0)
        return false;
    const char *colon = strrchr(begin, ':');
    if (colon == NULL || colon - begin >= HOST_BYTES)
        return false;
    tcp_out->port = (unsigned)strtoul(colon + 1, NULL, 10);
    bool has_brackets = colon - begin >= 2 && begin[0] == '[' && colon[-1] == ']';
    snprintf(tcp_out->host, sizeof(tcp_out->host), "%.*s",
             (int)(colon - begin - (has_brackets ? 2 : 0)), begin + has_brackets);
    return true;
}

static int join_tcp(const char *host, unsigned port, char endpoint_out[LAUNCH_ENDPOINT_BYTES],
                    struct err_msg *why)
{
    if (port > 65535)
        return err_set(why, ERR_INPUT, "port %u: past the last, 65535; choose a lower first one",
                       port);
    bool is_v6 = strchr(host, ':') != NULL;
    snprintf(endpoint_out, LAUNCH_ENDPOINT_BYTES, "tcp://%s%s%s:%u", is_v6 ? "[" : "", host,
             is_v6 ? "]" : "", port);
    return 0;
}

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (strcmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static bool is_wildcard(const char *host)
{
    return strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static bool is_number_host(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* Beside the coordinator's socket, where the other processes of this machine can go, too. */
static int default_server_bind(struct launch *launch, struct err_msg *why)
{
    struct tcp tcp;
    const char *slash = strrchr(launch->coordinator, '/');
    int bytes = 0;
    if (split_tcp(launch->coordinator, &tcp))
        bytes = snprintf(launch->bind, sizeof(launch->bind), "tcp://%s:0",
                         is_loopback(tcp.host) ? "127.0.0.1" : "*");
    else /* the pid keeps a restarted server apart from the one that it replaces */
        bytes = snprintf(launch->bind, sizeof(launch->bind), "%.*s/ps%d-%d",
                         (int)(slash - launch->coordinator), launch->coordinator,
                         launch->rank < 0 ? 0 : launch->rank, (int)getpid());
    if (bytes >= (int)sizeof(launch->bind))
        return err_set(why, ERR_INPUT, "%s: too long", launch->coordinator);
    return endpoint_check(launch->bind, why);
}

/* The coordinator listens where others look for it; ZeroMQ listens on numbers, not on names. */
static int default_coordinator_bind(struct launch *launch, const char *found_at,
                                    struct err_msg *why)
{
    struct tcp tcp;
    if (found_at[0] == '\0')
        return err_set(why, ERR_INPUT,
                       "where should the coordinator listen? give --bind tcp://HOST:PORT or "
                       "ipc://FILE, TALWEG_BIND, or cluster.bind in the job file");
    int err = endpoint_check(found_at, why);
    if (err != 0)
        return err_prefix(why, err, "cluster.coordinator: ");
    bool is_tcp = split_tcp(found_at, &tcp);
    if (is_tcp && !is_loopback(tcp.host) && !is_number_host(tcp.host))
        return join_tcp("*", tcp.port, launch->bind, why);
    return keep_endpoint(launch->bind, "cluster.coordinator", found_at, why);
}

static int check_coordinator(const struct launch *launch, struct err_msg *why)
{
    struct tcp tcp;
    int err = endpoint_check(launch->coordinator, why);
    if (err != 0)
        return err_prefix(why, err, "the coordinator's address: ");
    if (split_tcp(launch->coordinator, &tcp) && (tcp.port == 0 || strcmp(tcp.host, "*") == 0))
        return err_set(why, ERR_INPUT,
                       "the coordinator's address: found %s, expected a host and the port that it "
                       "listens on",
                       launch->coordinator);
    return 0;
}

static int find_coordinator(struct launch *launch, const struct settings *settings,
                            struct err_msg *why)
{
    if (!has_coordinator(launch) &&
        keep_coordinator(launch, "cluster.coordinator", settings->cluster.coordinator, why) != 0)
        return ERR_INPUT;
    if (!has_coordinator(launch))
        return err_set(
            why, ERR_INPUT,
            "where is the coordinator? give --coordinator tcp://HOST:PORT or ipc://FILE, or its "
            "--out folder; or TALWEG_COORDINATOR, or cluster.coordinator in the job file");
    return launch->run.path[0] != '\0' ? 0 : check_coordinator(launch, why);
}

static int check_bind(struct launch *launch, const struct settings *settings, struct err_msg *why)
{
    struct tcp tcp;
    int err = endpoint_check(launch->bind, why);
    if (err != 0)
        return err_prefix(why, err, "where to listen: ");
    if (!split_tcp(launch->bind, &tcp))
        return 0;
    if (strcmp(tcp.host, "localhost") == 0)
        return join_tcp("127.0.0.1", tcp.port, launch->bind, why);
    if (is_loopback(tcp.host) || settings->cluster.keys[0] != '\0' || settings->cluster.insecure)
        return 0;
    return err_set(why, ERR_REFUSED,
                   "%s: not listening there, because anyone on that network could join the run and "
                   "read what is sent; make keys with `talweg keygen --out DIR` and give --keys "
                   "DIR to every process; or, if the network is trusted, put insecure = true into "
                   "the group cluster of %s; on one machine, listen on tcp://127.0.0.1:PORT or "
                   "ipc://FILE",
                   launch->bind, launch->job);
}

static int find_bind(struct launch *launch, const struct settings *settings, struct err_msg *why)
{
    int err = 0;
    if (launch->bind[0] == '\0')
        err = keep_endpoint(launch->bind, "cluster.bind", settings->cluster.bind, why);
    if (err == 0 && launch->bind[0] == '\0' && launch->role == LAUNCH_COORDINATOR)
        err = default_coordinator_bind(launch, settings->cluster.coordinator, why);
    else if (err == 0 && launch->bind[0] == '\0')
        err = default_server_bind(launch, why);
    if (err == 0 && launch->advertise[0] == '\0')
        err =
            keep_endpoint(launch->advertise, "cluster.advertise", settings->cluster.advertise, why);
    return err == 0 ? check_bind(launch, settings, why) : err;
}

int launch_settings(struct launch *launch, struct settings **settings_out, struct err_msg *why)
{
    struct settings *settings = NULL;
    int err = settings_load(launch->job, (const char *const *)launch->sets, launch->set_count,
                            &settings, why);
    if (err != 0)
        return err;
    if (launch->role != LAUNCH_COORDINATOR)
        err = find_coordinator(launch, settings, why);
    if (err == 0 && launch->role != LAUNCH_WORKER && launch->run.path[0] == '\0')
        err = find_bind(launch, settings, why);
    if (err != 0) {
        settings_destroy(settings);
        return err;
    }
    *settings_out = settings;
    return 0;
}

int launch_reach(struct launch *launch, const struct settings *settings,
                 const volatile sig_atomic_t *is_asked_to_stop, enum run_state *state_out,
                 struct err_msg *why)
{
    *state_out = RUN_THERE;
    if (launch->run.path[0] == '\0')
        return 0;
    int err = run_file_wait(&launch->run, settings->cluster.wait_s, is_asked_to_stop, state_out,
                            why);
    if (err == 0 && *state_out == RUN_FINISHED)
        fprintf(stderr, "talweg-%s: the run in %s has finished: nothing is left to do\n",
                launch_role_name(launch->role), launch->run.path);
    if (err != 0 || *state_out == RUN_FINISHED)
        return err;
    memcpy(launch->coordinator, launch->run.endpoint, sizeof(launch->coordinator));
    return launch->role == LAUNCH_SERVER ? find_bind(launch, settings, why) : 0;
}

int launch_bind_endpoint(const struct launch *launch, uint32_t idx,
                         char endpoint_out[LAUNCH_ENDPOINT_BYTES], struct err_msg *why)
{
    struct tcp tcp;
    if (split_tcp(launch->bind, &tcp))
        return join_tcp(tcp.host, tcp.port == 0 ? 0 : tcp.port + idx, endpoint_out, why);
    int bytes = idx == 0
                    ? snprintf(endpoint_out, LAUNCH_ENDPOINT_BYTES, "%s", launch->bind)
                    : snprintf(endpoint_out, LAUNCH_ENDPOINT_BYTES, "%s-%u", launch->bind, idx);
    if (bytes >= LAUNCH_ENDPOINT_BYTES)
        return err_set(why, ERR_INPUT, "%s: too long", launch->bind);
    return endpoint_check(endpoint_out, why);
}

/* The host and port of --advertise, which may be HOST, HOST:PORT, or either behind tcp://. */
static bool split_advertised(const char *text, struct tcp *tcp_out)
{
    const char *begin = strncmp(text, "tcp://", strlen("tcp://")) == 0 ? text + 6 : text;
    const char *colon = strrchr(begin, ':');
    bool has_port = colon != NULL && colon[1] != '\0' &&
                    colon[1 + strspn(colon + 1, "0123456789")] == '\0' &&
                    (begin[0] != '[' || colon[-1] == ']') && strlen(colon + 1) <= 5;
    char endpoint[LAUNCH_ENDPOINT_BYTES + 16];
    snprintf(endpoint, sizeof(endpoint), "tcp://%s%s", begin, has_port ? "" : ":0");
    return endpoint_check(endpoint, NULL) == 0 && split_tcp(endpoint, tcp_out) &&
           tcp_out->host[0] != '\0' && !is_wildcard(tcp_out->host);
}

int launch_advertised(const struct launch *launch, const char *bound, uint32_t idx,
                      char endpoint_out[LAUNCH_ENDPOINT_BYTES], struct err_msg *why)
{
    struct tcp real, said;
    if (!split_tcp(bound, &real)) /* a unix socket is known by its path */
        return keep_endpoint(endpoint_out, "the address bound", bound, why);
    if (launch->advertise[0] != '\0') {
        if (!split_advertised(launch->advertise, &said))
            return err_set(why, ERR_INPUT,
                           "the address to advertise: found \"%.200s\", expected "
                           "tcp://HOST:PORT, or HOST for the real port",
                           launch->advertise);
        return join_tcp(said.host, said.port == 0 ? real.port : said.port + idx, endpoint_out, why);
    }
    if (is_wildcard(real.host) && gethostname(real.host, sizeof(real.host) - 1) != 0)
        return err_set(why, ERR_IO, "cannot tell this host's name: %s; give --advertise",
                       strerror(errno));
    return join_tcp(real.host, real.port, endpoint_out, why);
}

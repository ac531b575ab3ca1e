#include "common/endpoint.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "common/address.h"
#include "tests/unit/unit.h"

static bool mentions(const struct err_msg *why, const char *words)
{
    if (strstr(why->text, words) == NULL)
        printf("\nexpected \"%s\" in: %s\n", words, why->text);
    return strstr(why->text, words) != NULL;
}

static void test_endpoint_check_lets_what_is_one_pass(void)
{
    static const char *const good[] = {"tcp://127.0.0.1:0", "tcp://*:65535",      "tcp://[::1]:7",
                                       "tcp://node-3:7000", "ipc:///run/a socket", "ipc://near",
                                       "inproc://shard"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct err_msg why = {0};
        CU_ASSERT(endpoint_check(good[i], &why) == 0);
        CU_ASSERT_STRING_EQUAL(why.text, "");
    }
}

static void test_endpoint_check_says_what_is_wrong(void)
{
    static const struct {
        const char *endpoint, *words;
    } bad[] = {
        {"tcp://127.0.0.1", "expected tcp://host:port"},
        {"tcp://:7", "expected tcp://host:port"},
        {"tcp://127.0.0.1:", "is no port"},
        {"tcp://127.0.0.1:65536", "\"65536\" is no port"},
        {"tcp://127.0.0.1:7x", "is no port"},
        {"tcp://127.0.0.1:-7", "is no port"},
        {"tcp://127.0.0.1:0000000007", "is no port"},
        {"ipc://", "path of a socket"},
        {"ipc://@abstract", "path of a socket"},
        {"inproc://", "is no endpoint"},
        {"udp://127.0.0.1:7", "is no endpoint"},
        {"127.0.0.1:7", "is no endpoint"},
        {"", "is no endpoint"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct err_msg why = {0};
        CU_ASSERT(endpoint_check(bad[i].endpoint, &why) == ERR_INPUT);
        CU_ASSERT(mentions(&why, bad[i].words));
    }
}

static void test_endpoint_check_counts_the_bytes_of_a_path(void)
{
    char endpoint[600] = "ipc://";
    struct err_msg why = {0};
    memset(endpoint + 6, 'x', 107);
    CU_ASSERT(endpoint_check(endpoint, &why) == 0);
    endpoint[6 + 107] = 'x';
    CU_ASSERT(endpoint_check(endpoint, &why) == ERR_INPUT);
    CU_ASSERT(mentions(&why, "has 108 bytes; at most 107 are possible"));
    memset(endpoint + 6, 'x', sizeof(endpoint) - 7);
    CU_ASSERT(endpoint_check(endpoint, &why) == ERR_INPUT);
    CU_ASSERT(mentions(&why, "an endpoint of 599 bytes"));
}

static void test_endpoint_check_peer_wants_a_place(void)
{
    struct err_msg why = {0};
    CU_ASSERT(endpoint_check_peer("tcp://127.0.0.1:7", &why) == 0);
    CU_ASSERT(endpoint_check_peer("inproc://shard", &why) == 0);
    CU_ASSERT(endpoint_check_peer("tcp://127.0.0.1:0", &why) == ERR_INPUT);
    CU_ASSERT(mentions(&why, "expected the host and the port where it listens"));
    CU_ASSERT(endpoint_check_peer("tcp://*:7", &why) == ERR_INPUT);
    CU_ASSERT(endpoint_check_peer("tcp://", &why) == ERR_INPUT);
}

static void test_endpoint_bind_failed_says_why_and_what_would_help(void)
{
    static const struct {
        const char *endpoint;
        int error, code;
        const char *sentence;
    } rows[] = {
        {"tcp://127.0.0.1:80", EACCES, ERR_NET,
         "cannot bind tcp://127.0.0.1:80: permission denied; ports below 1024 need privileges, "
         "choose a higher port, or port 0 for any free one"},
        {"ipc:///root/it", EACCES, ERR_NET,
         "cannot bind ipc:///root/it: permission denied; this user may not make a socket in that "
         "folder"},
        {"tcp://[::]:7000", EADDRINUSE, ERR_NET,
         "cannot bind tcp://[::]:7000: port 7000 is in use by another process; end it, choose "
         "another port, or port 0 for any free one"},
        {"inproc://shard", EADDRINUSE, ERR_NET, "cannot bind inproc://shard: address in use"},
        {"ipc:///no/it", ENOENT, ERR_NET,
         "cannot bind ipc:///no/it: its folder does not exist; make the folder first"},
        {"tcp://localhost:7", ENODEV, ERR_NET,
         "cannot bind tcp://localhost:7: this machine has no such address; bind to an address of "
         "this machine, or to * for all of them"},
        {"tcp://a b:7", EINVAL, ERR_INPUT, "cannot bind tcp://a b:7: not an address to listen on"},
        {"tcp://*:7", EMFILE, ERR_NET, "cannot bind tcp://*:7: words of the system"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err_msg why = {0};
        CU_ASSERT(endpoint_bind_failed(rows[i].endpoint, rows[i].error, "words of the system",
                                       &why) == rows[i].code);
        CU_ASSERT_STRING_EQUAL(why.text, rows[i].sentence);
    }
}

static void test_address_comes_back_from_its_routing_id(void)
{
    static const char *const bad[] = {"Wfedcba9876543210", "mfedcba9876543210",
                                      "wfedcba987654321G", "wfedcba987654321A",
                                      "wfedcba987654321 "};
    const struct address worker = {PARTY_WORKER, 0xfedcba9876543210};
    char text[ADDRESS_TEXT_BYTES + 1];
    struct address back = {PARTY_NONE, 0};
    address_format(worker, text);
    CU_ASSERT_STRING_EQUAL(text, "wfedcba9876543210");
    CU_ASSERT(address_parse(text, ADDRESS_TEXT_BYTES, &back) && address_equal(back, worker));
    CU_ASSERT(!address_parse(text, ADDRESS_TEXT_BYTES - 1, &back));
    CU_ASSERT(!address_parse(text, ADDRESS_TEXT_BYTES + 1, &back));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CU_ASSERT(!address_parse(bad[i], ADDRESS_TEXT_BYTES, &back));
    CU_ASSERT(address_equal(back, worker));
}

static void check_unmapped(const char *endpoint, const char *expected)
{
    char text[ENDPOINT_TEXT_BYTES];
    snprintf(text, sizeof(text), "%s", endpoint);
    endpoint_unmap(text);
    CU_ASSERT_STRING_EQUAL(text, expected);
}

static void test_endpoint_unmap_tells_an_ipv4_address_as_one(void)
{
    check_unmapped("tcp://[::ffff:127.0.0.1]:5555", "tcp://127.0.0.1:5555");
    check_unmapped("tcp://[::ffff:1234:5678]:1", "tcp://[::ffff:1234:5678]:1");
    check_unmapped("tcp://[::1]:5", "tcp://[::1]:5");
    check_unmapped("tcp://[::ffff:1.2.3.4", "tcp://[::ffff:1.2.3.4");
    check_unmapped("ipc:///a/b", "ipc:///a/b");
}

#define TESTS(X)                                              \
    X(test_endpoint_unmap_tells_an_ipv4_address_as_one)           \
    X(test_endpoint_check_lets_what_is_one_pass)                \
    X(test_endpoint_check_says_what_is_wrong)                   \
    X(test_endpoint_check_counts_the_bytes_of_a_path)           \
    X(test_endpoint_check_peer_wants_a_place)                   \
    X(test_endpoint_bind_failed_says_why_and_what_would_help)   \
    X(test_address_comes_back_from_its_routing_id)

UNIT_MAIN("endpoint", TESTS)

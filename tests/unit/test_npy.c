#include "worker/data/npy.h"

#include "tests/unit/temp_files.h"
#include "tests/unit/unit.h"

/* Writes an NPY file of that version and header text, followed by data. */
static const char *write_npy(int version, const char *header, const void *data, size_t data_bytes)
{
    char bytes[1024] = "\x93NUMPY";
    size_t length = strlen(header), at = version == 1 ? 10 : 12;
    bytes[6] = (char)version;
    bytes[8] = (char)(length & 255);
    bytes[9] = (char)(length >> 8);
    memcpy(bytes + at, header, length);
    if (data_bytes)
        memcpy(bytes + at + length, data, data_bytes);
    return temp_write("array.npy", bytes, at + length + data_bytes);
}

static int open_npy(const char *path, struct rows **rows_out, struct err_msg *why)
{
    struct rows_place place = {"", 1 << 20};
    *why = (struct err_msg){0};
    *rows_out = NULL;
    return npy_open(path, &place, rows_out, why);
}

static void test_npy_reads_versions_and_types(void)
{
    static const double numbers[] = {1, -2, 3, 4};
    static const struct {
        const char *descr;
        enum rows_type type;
    } cases[] = {{"|u1", ROWS_U8},
                 {"<u2", ROWS_U16},
                 {"<i4", ROWS_I32},
                 {"<i8", ROWS_I64},
                 {"<f4", ROWS_F32},
                 {"<f8", ROWS_F64}};
    for (size_t i = 0; i < ARRAY_LEN(cases) * 3; i++) {
        enum rows_type type = cases[i / 3].type;
        char header[128];
        struct rows *rows = NULL;
        struct err_msg why;
        snprintf(header, sizeof(header),
                 "{'descr': '%s', 'fortran_order': False, 'shape': (2, 2), }   \n",
                 cases[i / 3].descr);
        const char *path = write_npy((int)(i % 3) + 1, header, numbers, 4 * rows_type_bytes(type));
        CU_ASSERT_EQUAL_FATAL(open_npy(path, &rows, &why), 0);
        CU_ASSERT_EQUAL(rows_form(rows)->type, type);
        CU_ASSERT_EQUAL(rows_form(rows)->count, 2);
        CU_ASSERT_EQUAL(rows_form(rows)->dims, 1);
        CU_ASSERT_EQUAL(rows_form(rows)->shape[0], 2);
        rows_close(rows);
    }
}

static void test_npy_reads_what_it_writes(void)
{
    static const uint32_t sides[] = {UINT32_MAX, UINT32_MAX, UINT32_MAX};
    struct rows_form form = {.type = ROWS_F32, .dims = 0, .count = 3};
    char bytes[NPY_WRITE_BYTES_MAX + 12];
    float values[] = {1.5f, -2, 3}, found[3] = {0};
    struct rows *rows = NULL;
    struct err_msg why;
    size_t header_bytes = npy_write_header(&form, bytes);
    CU_ASSERT_EQUAL(header_bytes % 64, 0);
    memcpy(bytes + header_bytes, values, sizeof(values));
    const char *path = temp_write("own.npy", bytes, header_bytes + sizeof(values));
    CU_ASSERT_EQUAL_FATAL(open_npy(path, &rows, &why), 0);
    CU_ASSERT_EQUAL(rows_form(rows)->dims, 0);
    CU_ASSERT_EQUAL(rows_read(rows, (struct rows_span){0, 0, 3}, found, &why), 0);
    CU_ASSERT_EQUAL(memcmp(values, found, sizeof(values)), 0);
    rows_close(rows);
    form = (struct rows_form){.type = ROWS_U8, .dims = 3, .count = UINT64_MAX};
    memcpy(form.shape, sides, sizeof(sides));
    CU_ASSERT(npy_write_header(&form, bytes) <= NPY_WRITE_BYTES_MAX);
}

static void refuse(const char *header, const char *sentence)
{
    static const char data[64];
    struct rows *rows = NULL;
    struct err_msg why;
    CU_ASSERT_EQUAL(open_npy(write_npy(1, header, data, 16), &rows, &why), ERR_INPUT);
    CU_ASSERT_PTR_NULL(rows);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, sentence));
    if (!strstr(why.text, sentence))
        printf("\n  said: %s\n", why.text);
}

static void test_npy_refuses_with_a_sentence(void)
{
    refuse("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2)}", "Fortran order");
    refuse("{'descr': '>f4', 'fortran_order': False, 'shape': (4,)}", "big-endian");
    refuse("{'descr': '|O', 'fortran_order': False, 'shape': (4,)}", "Python objects");
    refuse("{'descr': '<c8', 'fortran_order': False, 'shape': (2,)}", "dtype <c8");
    refuse("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4,)}", "named fields");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': ()}", "single number");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (5,)}", "cut short");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}", "longer than");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (0,)}", "no samples");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1, 1, 4)}", "more than 3");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}", "size");
    refuse("{'descr': '<f4', 'shape': (4,)}", "lacks");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), 'x': 1}", "unknown key");
    refuse("{'descr': '<f4', 'fortran_order': False, 'shape': (4", "comma");
    refuse("{'descr': '<f4", "quoted");
    refuse("", "dictionary");
}

static void test_npy_survives_every_cut(void)
{
    static const char whole[] = "\x93NUMPY\x01\x00\x38\x00{'descr': '<f4', 'fortran_order': False, "
                                "'shape': (1,), }\0\0\0\0";
    struct rows *rows = NULL;
    struct err_msg why;
    for (size_t size = 0; size < sizeof(whole) - 1; size++) {
        int rc = open_npy(temp_write("cut.npy", whole, size), &rows, &why);
        CU_ASSERT_EQUAL(rc, ERR_INPUT);
        CU_ASSERT(why.text[0] != 0);
    }
}

#define TESTS(X) \
    X(test_npy_reads_versions_and_types) \
    X(test_npy_reads_what_it_writes) \
    X(test_npy_refuses_with_a_sentence) \
    X(test_npy_survives_every_cut)

UNIT_MAIN("npy", TESTS)

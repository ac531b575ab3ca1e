#include "worker/data/idx.h"

#include "tests/unit/temp_files.h"
#include "tests/unit/unit.h"

static const unsigned char images[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2,  0,  0,
                                       0, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

static int open_bytes(const char *path, uint64_t memory_bytes, struct rows **rows_out,
                      struct err_msg *why)
{
    struct rows_place place = {"", memory_bytes};
    *why = (struct err_msg){0};
    *rows_out = NULL;
    return idx_open(path, &place, rows_out, why);
}

static void check_second_image(const char *path)
{
    struct rows *rows = NULL;
    struct err_msg why;
    unsigned char pixels[6] = {0};
    CU_ASSERT_EQUAL_FATAL(open_bytes(path, 1 << 20, &rows, &why), 0);
    const struct rows_form *form = rows_form(rows);
    CU_ASSERT_EQUAL(form->count, 2);
    CU_ASSERT_EQUAL(form->dims, 2);
    CU_ASSERT_EQUAL(form->shape[0], 2);
    CU_ASSERT_EQUAL(form->shape[1], 3);
    CU_ASSERT_EQUAL(rows_read(rows, (struct rows_span){1, 0, 6}, pixels, &why), 0);
    CU_ASSERT_EQUAL(memcmp(pixels, images + 22, 6), 0);
    rows_close(rows);
}

static void test_idx_reads_u8_plain_and_packed(void)
{
    check_second_image(temp_write("images", images, sizeof(images)));
    check_second_image(temp_pack("images.gz", images, sizeof(images)));
}

static void test_idx_turns_big_endian_i32_and_f32(void)
{
    static const unsigned char whole[] = {0, 0, 0x0c, 1, 0,   0,   0,   2,
                                          0, 0, 1,    2, 255, 255, 255, 254};
    static const unsigned char real[] = {0, 0, 0x0d, 1, 0, 0, 0, 1, 0x3f, 0xc0, 0, 0};
    struct rows *rows = NULL;
    struct err_msg why;
    int32_t integers[2] = {0};
    float number = 0;
    CU_ASSERT_EQUAL_FATAL(open_bytes(temp_write("i32", whole, sizeof(whole)), 0, &rows, &why), 0);
    CU_ASSERT_EQUAL(rows_read(rows, (struct rows_span){0, 0, 2}, integers, &why), 0);
    CU_ASSERT_EQUAL(integers[0], 258);
    CU_ASSERT_EQUAL(integers[1], -2);
    struct rows_place place = {"", 1 << 20};
    CU_ASSERT_EQUAL(rows_keep(rows, &place, &why), 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(rows_at(rows, 1));
    CU_ASSERT_EQUAL(*(const int32_t *)rows_at(rows, 1), -2);
    rows_close(rows);
    CU_ASSERT_EQUAL_FATAL(open_bytes(temp_pack("f32", real, sizeof(real)), 0, &rows, &why), 0);
    CU_ASSERT_EQUAL(rows_read(rows, (struct rows_span){0, 0, 1}, &number, &why), 0);
    CU_ASSERT_EQUAL(number, 1.5f);
    rows_close(rows);
}

static void refuse(const char *path, const char *sentence)
{
    struct rows *rows = NULL;
    struct err_msg why;
    int rc = open_bytes(path, 1 << 20, &rows, &why);
    CU_ASSERT(rc == ERR_INPUT || rc == ERR_IO);
    CU_ASSERT_PTR_NULL(rows);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, sentence));
    if (!strstr(why.text, sentence))
        printf("\n  said: %s\n", why.text);
}

static void test_idx_refuses_every_cut(void)
{
    for (size_t size = 1; size < sizeof(images); size++) {
        refuse(temp_write("cut", images, size), "cut short");
        refuse(temp_pack("cut.gz", images, size), "cut short");
    }
}

static void test_idx_refuses_a_cut_gzip_stream(void)
{
    static unsigned char noise[20016] = {0, 0, 8, 2, 0, 0, 0, 20, 0, 0, 3, 232};
    unsigned char packed[30000];
    for (size_t i = 12; i < sizeof(noise); i++)
        noise[i] = (unsigned char)(i * i * 2654435761u >> 13);
    FILE *file = fopen(temp_pack("whole.gz", noise, 20012), "rb");
    size_t size = fread(packed, 1, sizeof(packed), file);
    fclose(file);
    refuse(temp_write("half.gz", packed, size / 2), "ends early");
    packed[size / 2] ^= 0x55;
    refuse(temp_write("torn.gz", packed, size), "damaged");
}

static void test_idx_refuses_what_is_longer_than_its_header(void)
{
    unsigned char longer[sizeof(images) + 1] = {0};
    memcpy(longer, images, sizeof(images));
    refuse(temp_write("longer", longer, sizeof(longer)), "longer than its header");
    refuse(temp_pack("longer.gz", longer, sizeof(longer)), "longer than its header");
}

static void test_idx_refuses_wrong_headers(void)
{
    static const unsigned char i8[] = {0, 0, 9, 1, 0, 0, 0, 1, 1};
    static const unsigned char five[] = {0, 0, 8, 5, 0, 0, 0, 1};
    static const unsigned char none[] = {0, 0, 8, 1, 0, 0, 0, 0};
    static const unsigned char flat[] = {0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 0};
    static const unsigned char huge[] = {0,    0,    8,    4,    0xff, 0xff, 0xff,
                                         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                         0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    refuse(temp_text("text", "hello world"), "not an IDX file");
    refuse(temp_write("i8", i8, sizeof(i8)), "type 0x09");
    refuse(temp_write("five", five, sizeof(five)), "5 dimensions");
    refuse(temp_write("none", none, sizeof(none)), "no samples");
    refuse(temp_write("flat", flat, sizeof(flat)), "length 0");
    refuse(temp_write("huge", huge, sizeof(huge)), "the most there is");
}

static void test_idx_says_when_there_is_no_file(void)
{
    struct rows *rows = NULL;
    struct err_msg why;
    CU_ASSERT_EQUAL(open_bytes("/nowhere/images", 0, &rows, &why), ERR_NOT_FOUND);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "/nowhere/images: cannot open"));
    CU_ASSERT_EQUAL(open_bytes("/tmp", 0, &rows, &why), ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "folder"));
}

static void test_idx_reads_rows_alike_from_memory_and_spool(void)
{
    enum { COUNT = 3000, SIDE = 100 };
    unsigned char *bytes = calloc(1, 12 + COUNT * SIDE);
    unsigned char header[12] = {0, 0, 8, 2, 0, 0, COUNT >> 8, COUNT & 255, 0, 0, 0, SIDE};
    unsigned char in_memory[SIDE], spooled[SIDE];
    struct rows *kept = NULL, *on_disk = NULL;
    struct err_msg why;
    memcpy(bytes, header, 12);
    for (size_t i = 0; i < COUNT * SIDE; i++)
        bytes[12 + i] = (unsigned char)(i * 31 >> 3);
    const char *path = temp_pack("many.gz", bytes, 12 + COUNT * SIDE);
    CU_ASSERT_EQUAL_FATAL(open_bytes(path, 1 << 20, &kept, &why), 0);
    CU_ASSERT_EQUAL_FATAL(open_bytes(path, 1000, &on_disk, &why), 0);
    CU_ASSERT_PTR_NOT_NULL(rows_at(kept, 0));
    CU_ASSERT_PTR_NULL(rows_at(on_disk, 0));
    for (uint64_t row = 0; row < COUNT; row++) {
        CU_ASSERT_EQUAL(rows_read(kept, (struct rows_span){row, 0, SIDE}, in_memory, &why), 0);
        CU_ASSERT_EQUAL(rows_read(on_disk, (struct rows_span){row, 0, SIDE}, spooled, &why), 0);
        CU_ASSERT_EQUAL(memcmp(in_memory, spooled, SIDE), 0);
        CU_ASSERT_EQUAL(memcmp(in_memory, bytes + 12 + row * SIDE, SIDE), 0);
    }
    rows_close(kept);
    rows_close(on_disk);
    free(bytes);
}

#define TESTS(X) \
    X(test_idx_reads_u8_plain_and_packed) \
    X(test_idx_turns_big_endian_i32_and_f32) \
    X(test_idx_refuses_every_cut) \
    X(test_idx_refuses_a_cut_gzip_stream) \
    X(test_idx_refuses_what_is_longer_than_its_header) \
    X(test_idx_refuses_wrong_headers) \
    X(test_idx_says_when_there_is_no_file) \
    X(test_idx_reads_rows_alike_from_memory_and_spool)

UNIT_MAIN("idx", TESTS)

#include "worker/data/idx.h"

static bool type_of(unsigned char code, enum rows_type *type_out)
{
    static const struct {
        unsigned char code;
        enum rows_type type;
    } known[] = {{0x08, ROWS_U8}, {0x0c, ROWS_I32}, {0x0d, ROWS_F32}, {0x0e, ROWS_F64}};
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (known[i].code == code) {
            *type_out = known[i].type;
            return true;
        }
    }
    return false;
}

bool idx_is_magic(const unsigned char *bytes, size_t size_bytes)
{
    return size_bytes >= IDX_MAGIC_BYTES && bytes[0] == 0 && bytes[1] == 0 && bytes[2] >= 0x08 &&
           bytes[2] <= 0x0e && bytes[3] >= 1;
}

static int read_header(struct inflate *in, struct rows_form *form, struct err_msg *why)
{
    unsigned char magic[IDX_MAGIC_BYTES];
    int rc = inflate_read_header(in, magic, sizeof(magic), why);
    if (rc < 0)
        return rc;
    if (!idx_is_magic(magic, sizeof(magic)))
        return err_set(why, ERR_INPUT,
                       "%s: not an IDX file: it starts with %02x %02x %02x %02x, expected "
                       "00 00, a type (08 to 0e) and a number of dimensions",
                       inflate_path(in), magic[0], magic[1], magic[2], magic[3]);
    if (!type_of(magic[2], &form->type))
        return err_set(why, ERR_INPUT,
                       "%s: IDX type 0x%02x is not taken; expected u8 (08), i32 (0c), f32 (0d) or "
                       "f64 (0e)",
                       inflate_path(in), magic[2]);
    if (magic[3] > ROWS_DIMS_MAX + 1)
        return err_set(why, ERR_INPUT, "%s: has %d dimensions, expected 1 to %d", inflate_path(in),
                       magic[3], ROWS_DIMS_MAX + 1);
    form->is_big_endian = true;
    form->dims = magic[3] - 1u;
    for (uint32_t d = 0; d <= form->dims; d++) {
        unsigned char size[4];
        rc = inflate_read_header(in, size, sizeof(size), why);
        if (rc < 0)
            return rc;
        uint32_t value =
            (uint32_t)size[0] << 24 | (uint32_t)size[1] << 16 | (uint32_t)size[2] << 8 | size[3];
        if (d == 0)
            form->count = value;
        else
            form->shape[d - 1] = value;
    }
    return 0;
}

int idx_open(const char *path, struct rows_place *place, struct rows **rows_out,
             struct err_msg *why)
{
    return rows_open(path, read_header, place, rows_out, why);
}

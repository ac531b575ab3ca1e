# Data sets made on the spot.  Sourced after lib.sh.
# shellcheck shell=bash

# make_idx DIR ROWS SIDE: DIR/inputs (u8 images) and DIR/labels, ten classes that can be learnt.
make_idx() {
    mkdir -p "$1"
    python3 - "$@" << 'EOF'
import random, struct, sys
folder, rows, side = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random.seed(7)
prototypes = [bytes(random.randrange(256) for _ in range(side * side)) for _ in range(10)]
with open(folder + "/inputs", "wb") as inputs, open(folder + "/labels", "wb") as labels:
    inputs.write(struct.pack(">IIII", 0x803, rows, side, side))
    labels.write(struct.pack(">II", 0x801, rows))
    for row in range(rows):
        label = random.randrange(10)
        image = bytearray(prototypes[label])
        for _ in range(side):
            image[random.randrange(side * side)] = random.randrange(256)
        inputs.write(image)
        labels.write(bytes([label]))
EOF
}

# make_csv FILE ROWS: x0,x1,x2,class with a header.
make_csv() {
    python3 - "$@" << 'EOF'
import random, sys
random.seed(7)
with open(sys.argv[1], "w") as out:
    out.write("x0,x1,x2,class\n")
    for _ in range(int(sys.argv[2])):
        x = [random.gauss(0, 1) for _ in range(3)]
        out.write("%.4f,%.4f,%.4f,%d\n" % (*x, sum(x) > 0))
EOF
}

# make_photographs DIR ROWS: DIR/images.npy (u8 [ROWS][3][32][32]) and DIR/labels.npy (u8 [ROWS]),
# ten classes that can be learnt.
make_photographs() {
    mkdir -p "$1"
    python3 - "$@" << 'END'
import random, sys
folder, rows = sys.argv[1], int(sys.argv[2])
random.seed(7)
prototypes = [bytes(random.randrange(256) for _ in range(3 * 32 * 32)) for _ in range(10)]

def save(name, shape, data):
    head = "{'descr': '|u1', 'fortran_order': False, 'shape': %s, }" % (shape,)
    head += " " * (-(len(head) + 11) % 64) + "\n"
    with open(folder + "/" + name, "wb") as out:
        out.write(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + data)

labels = [row % 10 for row in range(rows)]
images = bytearray()
for label in labels:
    image = bytearray(prototypes[label])
    for _ in range(300):
        image[random.randrange(len(image))] = random.randrange(256)
    images += image
save("images.npy", (rows, 3, 32, 32), images)
save("labels.npy", (rows,), bytes(labels))
END
}

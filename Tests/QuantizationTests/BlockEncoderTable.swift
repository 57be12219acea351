import TensorModel

/// Hashes of blocks with ggml's own rounding: without importance, and with it.
enum BlockEncoderTable {
    static let hashes: [BlockType: [UInt64]] = [
        .q4_0: [0x605b403794086bf4, 0x6fafa624fd947dba],
        .q4_1: [0x53e45506eecbcae4, 0x51bc934bf026a9c3],
        .q5_0: [0xf88db37b5797c753, 0xf3fb143edf5994ab],
        .q5_1: [0xd7d871fd6135d12e, 0x470ae8dfb0064e25],
        .q8_0: [0xfe02604c3eef112c, 0xfe02604c3eef112c],
        .q2_K: [0xa6292423a41152fc, 0x0539ece5676276a8],
        .q3_K: [0xd5378dccc2a18e1c, 0x8be4703e101aa8f6],
        .q4_K: [0xc8d32cb7e7532147, 0x3d9bbac0609f8e5d],
        .q5_K: [0xa29520f20b91016f, 0x21e486c805abd722],
        .q6_K: [0x33fb481081d151aa, 0xaa372eca47927fda],
        .iq4_nl: [0xcc84ed15195c4eb1, 0xba9e9dd169765906],
        .iq4_xs: [0x1408658c25ebc2db, 0x2e5ba9bf6bf73f2f],
        .mxfp4: [0x132f03e2fd8b222c, 0x132f03e2fd8b222c],
    ]
}

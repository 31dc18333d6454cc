//! Names and keys that are chosen to be taken for something else: those of other tenants, of other parts of a tenant, and the ends of the space.

/// Names of tenants that collide, or look like tuples, paths or keys.
pub(super) const TENANT_NAMES: [&str; 20] = [
    "a",
    "ab",
    "a/b",
    "b",
    "aa",
    "A",
    "a b",
    "0",
    "1",
    "255",
    "('a',)",
    "(1, 2)",
    "null",
    "../a",
    "..a",
    "\\x15\\x01",
    "tenantry",
    "a\u{e9}",
    "\u{ffff}a",
    "\u{10ffff}",
];

/// Ids around which the tuple of a tenant's prefix grows by a byte.
pub(super) const TENANT_IDS: [u64; 16] = [
    1,
    2,
    20,
    21,
    254,
    255,
    256,
    257,
    65_534,
    65_535,
    65_536,
    65_537,
    16_777_215,
    16_777_216,
    4_294_967_295,
    4_294_967_296,
];

/// Names of counters, sequences, pairs and requests: the same for every tenant.
pub(super) const NAMES: [&str; 8] = ["a", "ab", "a/b", "b", "0", "\u{10ffff}", "null", "\\x00"];

/// Words of texts.
pub(super) const WORDS: [&str; 6] = ["alpha", "alphabet", "beta", "gamma", "a", "owner"];

/// Bytes at the ends of the space and of elements, and such as are keys of other parts.
const KEYS: [&[u8]; 22] = [
    b"",
    b"\x00",
    b"\x00\xff",
    b"\x00\x00",
    b"\x01",
    b"\x01\x00",
    b"\x02a\x00",
    b"\x14",
    b"\x15\x00",
    b"\x15\x01",
    b"\x15\x01\x15\x01\x01a\x00\x14",
    b"\x15\x02\x15\x01\x14",
    b"\x15\x04\x14",
    b"\x15\x07",
    b"\x15\x08",
    b"\x15\x09\x15\x01",
    b"a",
    b"ab",
    b"\xfe",
    b"\xff",
    b"\xff\xff",
    b"\xff\x02/",
];

/// Keys to write and ask for: the same for every tenant, with the prefixes of all.
pub(super) fn keys(prefixes: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = KEYS.iter().map(|key| key.to_vec()).collect();
    for prefix in prefixes {
        // With and without the database's root in front, and the tenant's own space behind.
        keys.push(prefix.clone());
        keys.push([prefix, &b"\x15\x07a"[..]].concat());
        keys.push(prefix.iter().skip(2).copied().collect());
    }
    keys
}

/// Of how many tenants the prefixes are keys.
pub(super) const PREFIXES_MAX: usize = 6;

/// The name of a tenant, by its place.
pub(super) fn tenant_name(place: usize) -> String {
    TENANT_NAMES.get(place).map_or_else(|| format!("a/{place}"), |name| (*name).to_owned())
}

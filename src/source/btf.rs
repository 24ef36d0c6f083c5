//! BTF, the kernel's own description of its types (Documentation/bpf/btf.rst): what arguments a tracepoint has, and what
//! the values of an enum are called. Reads what it can of foreign or truncated bytes, and never panics.

/// include/uapi/linux/btf.h
mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const DECL_TAG: u32 = 17;
    pub const ENUM64: u32 = 19;
}

const MAGIC: [u8; 2] = 0xeb9f_u16.to_ne_bytes();
/// Pointers, qualifiers and typedefs behind each other, at most: more is a circle.
const DEEPEST: usize = 16;

/// The types of the kernel, or of a module.
pub struct Btf<'a> {
    /// Where each type begins in `types`; the first has number 1.
    starts: Vec<u32>,
    types: &'a [u8],
    strings: &'a [u8],
    /// Where `strings` begins: a module's go on where the kernel's end.
    first_string: usize,
}

/// What stands before the members of every type (struct btf_type).
#[derive(Clone, Copy)]
struct Head {
    name: usize,
    kind: u32,
    members: usize,
    /// Its size, or the type that it refers to.
    to: u32,
}

impl<'a> Btf<'a> {
    /// The kernel's types.
    pub fn kernel(bytes: &'a [u8]) -> Option<Self> {
        Self::parse(bytes, 0)
    }

    /// A module's: their names go on where those of the kernel end. References to types of the kernel are not followed.
    pub fn module(bytes: &'a [u8], kernel: &Btf) -> Option<Self> {
        Self::parse(bytes, kernel.strings.len())
    }

    fn parse(bytes: &'a [u8], first_string: usize) -> Option<Self> {
        if !bytes.starts_with(&MAGIC) {
            return None;
        }
        let header = number(bytes, 4)? as usize;
        let section = |at: usize| {
            let (offset, length) = (number(bytes, at)? as usize, number(bytes, at + 4)? as usize);
            let start = header.checked_add(offset)?;
            bytes.get(start..start.checked_add(length)?)
        };
        let (types, strings) = (section(8)?, section(16)?);
        let mut btf = Btf { starts: Vec::new(), types, strings, first_string };
        let mut at = 0;
        while let Some(head) = btf.head(at) {
            let Some(length) = head.length() else { break };
            btf.starts.push(u32::try_from(at).ok()?);
            at += 12 + length;
        }
        Some(btf)
    }

    /// How many types there are.
    pub fn types(&self) -> usize {
        self.starts.len()
    }

    /// The types of a tracepoint's arguments, as far as C needs words for them: `sk_buff *`, `enum skb_drop_reason`.
    /// Absent if there is no such tracepoint.
    pub fn arguments(&self, tracepoint: &str) -> Option<Vec<String>> {
        let name = format!("btf_trace_{tracepoint}");
        let pointer = self.find(kind::TYPEDEF, &name)?.1;
        let prototype = self.by_number(pointer.to).filter(|(_, head)| head.kind == kind::PTR)?.1.to;
        let (at, prototype) = self.by_number(prototype).filter(|(_, head)| head.kind == kind::FUNC_PROTO)?;
        // The first is the probe's own data.
        let types = (1..prototype.members).map(|i| number(self.types, at + 12 + i * 8 + 4));
        types.map(|number| number.map(|number| self.words(number))).collect()
    }

    /// The names and values of an enum.
    pub fn values(&self, name: &str) -> Vec<(&'a [u8], u64)> {
        let Some((at, head)) = self.find(kind::ENUM, name).or_else(|| self.find(kind::ENUM64, name)) else {
            return Vec::new();
        };
        let size = if head.kind == kind::ENUM { 8 } else { 12 };
        let value = |i: usize| {
            let at = at + 12 + i * size;
            let name = self.string(number(self.types, at)? as usize)?;
            let high = if size == 12 { number(self.types, at + 8)? } else { 0 };
            Some((name, u64::from(high) << 32 | u64::from(number(self.types, at + 4)?)))
        };
        (0..head.members).map_while(value).collect()
    }

    fn find(&self, kind: u32, name: &str) -> Option<(usize, Head)> {
        let all = self.starts.iter().filter_map(|&at| Some((at as usize, self.head(at as usize)?)));
        all.into_iter().find(|(_, head)| head.kind == kind && self.string(head.name) == Some(name.as_bytes()))
    }

    fn by_number(&self, number: u32) -> Option<(usize, Head)> {
        let at = *self.starts.get((number as usize).checked_sub(1)?)? as usize;
        Some((at, self.head(at)?))
    }

    fn words(&self, mut number: u32) -> String {
        let mut stars = String::new();
        for _ in 0..DEEPEST {
            let Some((_, head)) = self.by_number(number) else { return format!("void{stars}") };
            match head.kind {
                kind::PTR => stars.push_str(if stars.is_empty() { " *" } else { "*" }),
                kind::CONST | kind::VOLATILE | kind::RESTRICT => {}
                kind => {
                    let name = self.string(head.name).map(super::text::printable).unwrap_or_default();
                    let before = if kind == kind::ENUM { "enum " } else { "" };
                    return format!("{before}{name}{stars}");
                }
            }
            number = head.to;
        }
        format!("?{stars}")
    }

    fn head(&self, at: usize) -> Option<Head> {
        let info = number(self.types, at + 4)?;
        Some(Head {
            name: number(self.types, at)? as usize,
            kind: info >> 24 & 0x1f,
            members: (info & 0xffff) as usize,
            to: number(self.types, at + 8)?,
        })
    }

    fn string(&self, at: usize) -> Option<&'a [u8]> {
        let rest = self.strings.get(at.checked_sub(self.first_string)?..)?;
        rest.split(|&b| b == 0).next()
    }
}

impl Head {
    /// The bytes of what follows; absent for a kind that is not known, whose length nobody can know.
    fn length(&self) -> Option<usize> {
        Some(match self.kind {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => self.members * 12,
            kind::ENUM | kind::FUNC_PROTO => self.members * 8,
            0 | 20.. => return None,
            _ => 0,
        })
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types as the compiler would write them: each is its head and what follows.
    fn made(types: &[&[u32]], strings: &str) -> Vec<u8> {
        let types: Vec<u8> = types.concat().into_iter().flat_map(u32::to_ne_bytes).collect();
        let header = [24, 0, types.len(), types.len(), strings.len()];
        let header = header.into_iter().flat_map(|n| u32::try_from(n).unwrap().to_ne_bytes());
        let mut bytes: Vec<u8> = [&MAGIC[..], &[1, 0]].concat();
        bytes.extend(header.chain(types).chain(strings.bytes()));
        bytes
    }

    const STRINGS: &str = "\0btf_trace_hit\0skb\0why\0GONE\0LOST\0";

    fn sample() -> Vec<u8> {
        made(
            &[
                &[1, kind::TYPEDEF << 24, 2],
                &[0, kind::PTR << 24, 3],
                &[0, kind::FUNC_PROTO << 24 | 4, 0, 0, 4, 0, 5, 0, 7, 0, 4],
                &[0, kind::PTR << 24, 0],
                &[0, kind::PTR << 24, 6],
                &[15, kind::STRUCT << 24 | 1, 8, 0, 4, 0],
                &[19, kind::ENUM << 24 | 2, 4, 23, 0, 28, 0xffff_0000],
            ],
            STRINGS,
        )
    }

    #[test]
    fn arguments_and_values_are_found() {
        let bytes = sample();
        let btf = Btf::kernel(&bytes).unwrap();
        assert_eq!(btf.arguments("hit").unwrap(), ["skb *", "enum why", "void *"]);
        assert_eq!(btf.values("why"), [(&b"GONE"[..], 0), (b"LOST", 0xffff_0000)]);
        assert!(btf.arguments("miss").is_none() && btf.values("skb").is_empty());
    }

    #[test]
    fn a_module_goes_on_where_the_kernel_ends() {
        let kernel = sample();
        let kernel = Btf::kernel(&kernel).unwrap();
        let end = STRINGS.len() as u32;
        let module = made(&[&[end + 1, kind::ENUM64 << 24 | 1, 8, end + 5, 7, 1]], "\0own\0NEW\0");
        let module = Btf::module(&module, &kernel).unwrap();
        assert_eq!(module.values("own"), [(&b"NEW"[..], (1 << 32) + 7)]);
    }

    #[test]
    fn circles_end_and_every_cut_is_survived() {
        let circle = made(
            &[
                &[1, kind::TYPEDEF << 24, 2],
                &[0, kind::PTR << 24, 3],
                &[0, 13 << 24 | 2, 0, 0, 0, 0, 4],
                &[0, kind::CONST << 24, 4],
            ],
            STRINGS,
        );
        assert_eq!(Btf::kernel(&circle).unwrap().arguments("hit").unwrap(), ["?"]);
        let whole = sample();
        for length in 0..whole.len() {
            if let Some(btf) = Btf::kernel(&whole[..length]) {
                let _ = (btf.arguments("hit"), btf.values("why"));
            }
        }
    }

    #[test]
    fn the_running_kernel_says_what_its_tracepoints_take() {
        let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else { return };
        let btf = Btf::kernel(&bytes).unwrap();
        assert_eq!(btf.arguments("kfree_skb").unwrap()[..2], ["sk_buff *", "void *"]);
    }
}

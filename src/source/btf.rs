//! BTF, the kernel's own description of its types (Documentation/bpf/btf.rst): what arguments a tracepoint or a function
//! has, and what the values of an enum are called. Reads what it can of foreign or truncated bytes, and never panics.

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
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const DECL_TAG: u32 = 17;
    pub const ENUM64: u32 = 19;
}

const MAGIC: [u8; 2] = 0xeb9f_u16.to_ne_bytes();
/// struct btf_header, as far as it is known here.
const HEADER: usize = 24;
/// Pointers, qualifiers and typedefs behind each other, at most: more is a circle.
const DEEPEST: usize = 16;

/// The types of the kernel, or of a module: a module's numbers and names go on where those of the kernel end.
pub struct Btf<'a> {
    /// Where each type begins in `types`; the first of the kernel has number 1.
    starts: Vec<u32>,
    types: &'a [u8],
    strings: &'a [u8],
    /// Of a module, the kernel's.
    kernel: Option<&'a Btf<'a>>,
}

/// Where a type is.
struct Found<'a> {
    btf: &'a Btf<'a>,
    at: usize,
    head: Head,
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
        Self::parse(bytes, None)
    }

    /// A module's.
    pub fn module(bytes: &'a [u8], kernel: &'a Btf<'a>) -> Option<Self> {
        Self::parse(bytes, Some(kernel))
    }

    fn parse(bytes: &'a [u8], kernel: Option<&'a Btf<'a>>) -> Option<Self> {
        let (types, strings) = sections(bytes)?;
        let mut btf = Btf { starts: Vec::new(), types, strings, kernel };
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
        let pointer = self.find(kind::TYPEDEF, &name)?.1.head;
        let prototype = self.by_number(pointer.to).filter(|found| found.head.kind == kind::PTR)?.head.to;
        // The first is the probe's own data.
        Some(self.parameters(prototype)?.into_iter().skip(1).collect())
    }

    /// The number of a function, and the types of its arguments in the same words. Absent if it has no such function.
    pub fn function(&self, name: &str) -> Option<(u32, Vec<String>)> {
        let (number, found) = self.find(kind::FUNC, name)?;
        Some((number, self.parameters(found.head.to)?))
    }

    fn parameters(&self, prototype: u32) -> Option<Vec<String>> {
        let found = self.by_number(prototype).filter(|found| found.head.kind == kind::FUNC_PROTO)?;
        let types = (0..found.head.members).map(|i| number(found.btf.types, found.at + 12 + i * 8 + 4));
        types.map(|number| number.map(|number| self.words(number))).collect()
    }

    /// The names and values of an enum.
    pub fn values(&self, name: &str) -> Vec<(&'a [u8], u64)> {
        let found = self.find(kind::ENUM, name).or_else(|| self.find(kind::ENUM64, name));
        let Some((_, Found { at, head, .. })) = found else { return Vec::new() };
        let size = if head.kind == kind::ENUM { 8 } else { 12 };
        let value = |i: usize| {
            let at = at + 12 + i * size;
            let name = self.string(number(self.types, at)? as usize)?;
            let high = if size == 12 { number(self.types, at + 8)? } else { 0 };
            Some((name, u64::from(high) << 32 | u64::from(number(self.types, at + 4)?)))
        };
        (0..head.members).map_while(value).collect()
    }

    /// An own type by its name, with its number.
    fn find(&self, kind: u32, name: &str) -> Option<(u32, Found<'_>)> {
        let all = self.starts.iter().zip(self.first()..);
        let mut all = all.filter_map(|(&at, number)| {
            Some((number, Found { btf: self, at: at as usize, head: self.head(at as usize)? }))
        });
        all.find(|(_, found)| found.head.kind == kind && self.string(found.head.name) == Some(name.as_bytes()))
    }

    /// A type by its number, where it is: a module's refer to those of the kernel.
    fn by_number(&self, number: u32) -> Option<Found<'_>> {
        match (number.checked_sub(self.first()), self.kernel) {
            (Some(own), _) => {
                let at = *self.starts.get(own as usize)? as usize;
                Some(Found { btf: self, at, head: self.head(at)? })
            }
            (None, kernel) => kernel?.by_number(number),
        }
    }

    /// The number of the first own type.
    fn first(&self) -> u32 {
        1 + self.kernel.map_or(0, |kernel| kernel.starts.len() as u32)
    }

    fn words(&self, mut number: u32) -> String {
        let mut stars = String::new();
        for _ in 0..DEEPEST {
            let Some(Found { head, .. }) = self.by_number(number) else { return format!("void{stars}") };
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
        let before = self.kernel.map_or(0, |kernel| kernel.strings.len());
        match (at.checked_sub(before), self.kernel) {
            (Some(own), _) => self.strings.get(own..)?.split(|&b| b == 0).next(),
            (None, kernel) => kernel?.string(at),
        }
    }
}

/// The kernel's types and those of a module as one, for a reader that knows no modules: their numbers and names already
/// go on from one to the other.
pub fn joined(kernel: &[u8], module: &[u8]) -> Option<Vec<u8>> {
    let ((types, strings), (more_types, more_strings)) = (sections(kernel)?, sections(module)?);
    let [of_types, of_strings] = [types.len() + more_types.len(), strings.len() + more_strings.len()];
    let mut bytes = kernel.get(..4)?.to_vec();
    for word in [HEADER, 0, of_types, of_types, of_strings] {
        bytes.extend(u32::try_from(word).ok()?.to_ne_bytes());
    }
    for part in [types, more_types, strings, more_strings] {
        bytes.extend(part);
    }
    Some(bytes)
}

/// The types and the strings (struct btf_header).
fn sections(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    if !bytes.starts_with(&MAGIC) {
        return None;
    }
    let header = number(bytes, 4)? as usize;
    let section = |at: usize| {
        let (offset, length) = (number(bytes, at)? as usize, number(bytes, at + 4)? as usize);
        let start = header.checked_add(offset)?;
        bytes.get(start..start.checked_add(length)?)
    };
    Some((section(8)?, section(16)?))
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

    /// A function of a module, whose arguments are of a type of its own and of one of the kernel.
    fn function_of_a_module() -> Vec<u8> {
        let end = STRINGS.len() as u32;
        made(
            &[
                &[end + 1, kind::FUNC << 24, 9],
                &[0, kind::FUNC_PROTO << 24 | 2, 0, 0, 5, 0, 10],
                &[0, kind::PTR << 24, 11],
                &[end + 8, kind::STRUCT << 24, 0],
            ],
            "\0decide\0own\0",
        )
    }

    #[test]
    fn a_function_of_a_module_has_types_of_both() {
        let (kernel, module) = (sample(), function_of_a_module());
        let kernel_btf = Btf::kernel(&kernel).unwrap();
        let told = (8, vec!["skb *".to_owned(), "own *".to_owned()]);
        assert_eq!(Btf::module(&module, &kernel_btf).unwrap().function("decide").unwrap(), told);
        assert!(kernel_btf.function("decide").is_none());
        let joined = joined(&kernel, &module).unwrap();
        let all = Btf::kernel(&joined).unwrap();
        assert_eq!(all.function("decide").unwrap(), told);
        assert_eq!(all.arguments("hit").unwrap().len(), 3);
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
        let module = function_of_a_module();
        for length in 0..module.len() {
            let kernel = Btf::kernel(&whole).unwrap();
            let _ = joined(&whole, &module[..length]).map(|all| Btf::kernel(&all).map(|btf| btf.function("decide")));
            let _ = Btf::module(&module[..length], &kernel).map(|btf| btf.function("decide"));
        }
    }

    #[test]
    fn the_running_kernel_says_what_its_tracepoints_take() {
        let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else { return };
        let btf = Btf::kernel(&bytes).unwrap();
        assert_eq!(btf.arguments("kfree_skb").unwrap()[..2], ["sk_buff *", "void *"]);
    }
}

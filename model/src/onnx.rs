//! Whether an ONNX graph is all in one file.
//!
//! A tensor's values may lie in another file, which the graph names ("external data"). ONNX Runtime resolves such a name in the working
//! folder, or takes it for an address in the process's own memory, and no hash covers what it finds: a graph of strangers could read any
//! file into the codes, and one bundle would be two models. So the graph is walked, as its bytes are, before there is a session of them.
//!
//! The walk is over protobuf's wire format (protobuf.dev/programming-guides/encoding) with the numbers of onnx.proto3
//! (github.com/onnx/onnx, `onnx/onnx.proto3`), and stricter than a parser where two parsers could differ: what ONNX Runtime would merge,
//! cut, or skip to the same effect is refused. It allocates nothing.

use std::path::Path;

use parlo_guard::plain;

use crate::error::ModelError;

/// Nested messages at most: as many as protobuf's own parsers take.
const DEEPEST: usize = 100;

/// Messages of onnx.proto3 that hold tensors, however deep.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Training,
    Function,
    Graph,
    Node,
    Attribute,
    Sparse,
    Tensor,
}

impl Message {
    /// What a field of this number holds, if it is a message that can hold tensors.
    fn field(self, number: u64) -> Option<Self> {
        use Message::{Attribute, Function, Graph, Model, Node, Sparse, Tensor, Training};
        match (self, number) {
            (Model, 7) | (Training, 1 | 2) | (Attribute, 6 | 11) => Some(Graph),
            (Model, 20) => Some(Training),
            (Model, 25) => Some(Function),
            (Function, 7) | (Graph, 1) => Some(Node),
            (Function, 11) | (Node, 5) => Some(Attribute),
            (Graph, 5) | (Attribute, 5 | 10) | (Sparse, 1 | 2) => Some(Tensor),
            (Graph, 15) | (Attribute, 22 | 23) => Some(Sparse),
            _ => None,
        }
    }
}

/// `TensorProto.name`, `.external_data` and `.data_location`.
const NAME: u64 = 8;
const EXTERNAL_DATA: u64 = 13;
const DATA_LOCATION: u64 = 14;

/// Refuses a graph that is not whole in itself: the bytes of a file.
pub(crate) fn check_whole(file: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    look(bytes).map_err(|reason| ModelError::Foreign { file: file.to_owned(), reason })
}

/// `Err` is a sentence about the file.
fn look(bytes: &[u8]) -> Result<(), String> {
    // ONNX Runtime takes its own format (flatbuffers, `ort.fbs`) for what it is by this mark, whatever else the bytes are.
    if bytes.get(4..8) == Some(b"ORTM") {
        return Err("it is a graph in ONNX Runtime's own format, and bundles hold ONNX: export it as ONNX".to_owned());
    }
    walk(bytes, Message::Model, 0)
}

fn walk(bytes: &[u8], message: Message, depth: usize) -> Result<(), String> {
    if depth > DEEPEST {
        return Err(format!("its graphs lie more than {DEEPEST} deep in each other"));
    }
    let mut fields = Fields { rest: bytes };
    while let Some((number, value)) = fields.next()? {
        match (message, number, value) {
            (Message::Tensor, EXTERNAL_DATA, entry) => return Err(external(bytes, entry)),
            (Message::Tensor, DATA_LOCATION, value) if value != Value::Number(0) => return Err(external(bytes, value)),
            (_, _, Value::Bytes(inside)) => {
                if let Some(inner) = message.field(number) {
                    walk(inside, inner, depth + 1)?;
                }
            }
            // Of a message's number, but no message: parsers pass it over.
            _ => {}
        }
    }
    Ok(())
}

/// What is said of a tensor (its whole message, and what gave it away) whose values are elsewhere.
fn external(tensor: &[u8], entry: Value<'_>) -> String {
    let text = |bytes: &[u8]| plain(&String::from_utf8_lossy(bytes));
    let find = |bytes, wanted| {
        let mut fields = Fields { rest: bytes };
        std::iter::from_fn(|| fields.next().ok().flatten()).find_map(|(number, value)| match value {
            Value::Bytes(bytes) if number == wanted => Some(text(bytes)),
            _ => None,
        })
    };
    let name = find(tensor, NAME).filter(|name| !name.is_empty()).map_or_else(String::new, |name| format!(" {name}"));
    // `StringStringEntryProto`: a key and its value. The first is the location as all exporters write it.
    let place = match entry {
        Value::Bytes(entry) if find(entry, 1).as_deref() == Some("location") => find(entry, 2),
        _ => None,
    };
    let place = place.map_or_else(String::new, |place| format!(" ({place})"));
    format!(
        "the values of tensor{name} are not in it but elsewhere{place}, as ONNX external data, which no hash of the bundle covers; have the \
         graph saved whole, in one file (in Python `onnx.save(onnx.load(FILE), FILE, save_as_external_data=False)`)"
    )
}

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    /// A varint.
    Number(u64),
    /// Bytes with their length before them: text, packed numbers, or a message.
    Bytes(&'a [u8]),
    /// 4 or 8 bytes.
    Fixed,
}

/// The fields of a message, one after another.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The next field's number and value; `None` at the end.
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let broken = || "it is not an ONNX graph, or is damaged".to_owned();
        let tag = self.varint().filter(|&tag| tag >> 3 != 0 && tag <= u64::from(u32::MAX)).ok_or_else(broken)?;
        let value = match tag & 7 {
            0 => self.varint().map(Value::Number),
            1 => self.take(8).map(|_| Value::Fixed),
            2 => self.varint().and_then(|length| self.take(length)).map(Value::Bytes),
            5 => self.take(4).map(|_| Value::Fixed),
            // Groups, which ONNX has none of, and what is no type at all.
            _ => None,
        };
        Ok(Some((tag >> 3, value.ok_or_else(broken)?)))
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(taken)
    }

    /// A varint of 64 bits. One of more bits, which parsers cut each in its own way, is none.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for at in 0..10 {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7F);
            if at == 9 && bits > 1 {
                return None;
            }
            value |= bits << (7 * at);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn varint(mut value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
        out
    }

    fn bytes(number: u64, value: &[u8]) -> Vec<u8> {
        [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
    }

    fn number(number: u64, value: u64) -> Vec<u8> {
        [varint(number << 3), varint(value)].concat()
    }

    fn entry(key: &str, value: &str) -> Vec<u8> {
        [bytes(1, key.as_bytes()), bytes(2, value.as_bytes())].concat()
    }

    /// Every way from a model to a tensor without coming through the same message twice, but for graphs in attributes, twice.
    fn ways() -> Vec<Vec<u64>> {
        fn go(at: Message, way: &[u64], seen: &[Message], out: &mut Vec<Vec<u64>>) {
            if at == Message::Tensor {
                return out.push(way.to_vec());
            }
            let seen = [seen, &[at]].concat();
            for number in 1..40 {
                let Some(inner) = at.field(number) else { continue };
                if seen.iter().filter(|&&before| before == inner).count() < 2 {
                    go(inner, &[way, &[number]].concat(), &seen, out);
                }
            }
        }
        let mut out = Vec::new();
        go(Message::Model, &[], &[], &mut out);
        out
    }

    fn wrapped(way: &[u64], tensor: Vec<u8>) -> Vec<u8> {
        way.iter().rev().fold(tensor, |inside, &number| bytes(number, &inside))
    }

    #[test]
    fn external_data_is_refused_wherever_a_tensor_can_be() {
        let ways = ways();
        // Initializers, attributes and their lists, sparse tensors, subgraphs, functions and their defaults, training.
        for way in [
            &[7, 5][..],
            &[7, 1, 5, 5],
            &[7, 1, 5, 10],
            &[7, 15, 2],
            &[7, 1, 5, 6, 5],
            &[7, 1, 5, 11, 1, 5, 5],
            &[25, 7, 5, 5],
            &[25, 11, 5],
            &[20, 1, 5],
            &[7, 1, 5, 22, 1],
            &[7, 1, 5, 23, 1],
            &[7, 1, 5, 6, 1, 5, 22, 2],
        ] {
            assert!(ways.iter().any(|known| known == way), "{way:?}");
        }
        for way in ways {
            let name = bytes(NAME, b"w\x1b[2J");
            let good =
                [number(1, 4), number(2, 1), name.clone(), bytes(9, &[0; 16]), number(DATA_LOCATION, 0)].concat();
            assert_eq!(look(&wrapped(&way, good)), Ok(()), "{way:?}");
            let location = bytes(EXTERNAL_DATA, &entry("location", "/etc/passwd"));
            for bad in [
                [name.clone(), location.clone(), number(DATA_LOCATION, 1)].concat(),
                [name.clone(), location.clone()].concat(),
                [number(DATA_LOCATION, 1), name.clone()].concat(),
                // Cut to 32 bits this is 1.
                [number(DATA_LOCATION, 1 << 32 | 1), name.clone()].concat(),
                // The last one counts, or the first.
                [number(DATA_LOCATION, 1), number(DATA_LOCATION, 0), name.clone()].concat(),
            ] {
                let said = look(&wrapped(&way, bad)).unwrap_err();
                assert!(said.contains("external data") && said.contains("tensor w\u{fffd}[2J"), "{way:?}: {said}");
                assert!(!said.contains('\x1b'), "{said}");
            }
        }
    }

    #[test]
    fn a_message_in_two_parts_is_refused_by_either() {
        // Parsers merge two fields of one message into one.
        let tensor = [number(DATA_LOCATION, 1)].concat();
        let graphs = [bytes(7, &bytes(2, b"made")), bytes(7, &bytes(5, &tensor))].concat();
        assert!(look(&graphs).is_err());
    }

    #[test]
    fn what_parsers_read_differently_is_refused() {
        let deep = (0..DEEPEST / 3 + 1).fold(Vec::new(), |inside, _| bytes(1, &bytes(5, &bytes(6, &inside))));
        let cases: [&[u8]; 9] = [
            b"\x08",                                         // cut in a number
            b"\x3a\x05\x00",                                 // a length beyond the end
            b"\x3b\x3c",                                     // a group
            b"\x0f",                                         // no wire type
            b"\x00\x00",                                     // no field's number
            b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", // a length of 64 bits
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", // a number of 65 bits
            b"\xba\x80\x80\x80\x10\x00",                     // a tag that is a graph's if cut to 32 bits
            &bytes(7, &deep),
        ];
        for case in cases {
            assert!(look(case).is_err(), "{case:02x?}");
        }
        // A graph in ONNX Runtime's own format, hidden in one that is ONNX: the mark lies in the producer's name.
        let hidden = [&b"\x08\x08\x12\x10ORTM"[..], &[b'x'; 12]].concat();
        assert!(look(&hidden).unwrap_err().contains("own format"));
        assert_eq!(look(&[&b"\x08\x08\x12\x10ortm"[..], &[b'x'; 12]].concat()), Ok(()));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_walk(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = look(&bytes);
        }

        #[test]
        fn one_external_tensor_among_many_messages_is_found(
            ways in prop::collection::vec((prop::sample::select(ways()), prop::collection::vec(any::<u8>(), 0..20)), 1..20),
            bad in any::<prop::sample::Index>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let tensor = |raw: &[u8]| bytes(9, raw);
            let good: Vec<Vec<u8>> = ways.iter().map(|(way, raw)| wrapped(way, tensor(raw))).collect();
            prop_assert_eq!(look(&good.concat()), Ok(()));
            let at = bad.index(ways.len());
            let mut with = good.clone();
            with[at] = wrapped(&ways[at].0, [tensor(&ways[at].1), bytes(EXTERNAL_DATA, &entry("location", "x"))].concat());
            prop_assert!(look(&with.concat()).is_err());
            let whole = with.concat();
            // What is cut off from a file is not passed over in silence, unless it ends where a message does before the bad one.
            let cut = cut.index(whole.len());
            let before: usize = with[..at].iter().map(Vec::len).sum();
            prop_assert!(look(&whole[..cut]).is_err() || cut <= before);
        }
    }
}

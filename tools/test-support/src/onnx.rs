//! Small ONNX graphs, written byte by byte as onnx.proto3 has them (github.com/onnx/onnx, onnx/onnx.proto3), so that tests need
//! neither Python nor files.

/// A graph in the making.
#[derive(Default)]
pub struct Onnx {
    nodes: Vec<u8>,
    initializers: Vec<u8>,
    inputs: Vec<u8>,
    outputs: Vec<u8>,
    names: usize,
}

/// `TensorProto.DataType`.
#[derive(Clone, Copy)]
pub enum Kind {
    Float = 1,
    Int64 = 7,
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field that is a number.
fn number(out: &mut Vec<u8>, field: u64, value: i64) {
    varint(out, field << 3);
    varint(out, value.cast_unsigned());
}

/// A field that is bytes, text or a message.
fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// `ValueInfoProto`: a name, a type, and a shape of which -1 is left open.
fn value(name: &str, kind: Kind, shape: &[i64]) -> Vec<u8> {
    let mut dimensions = Vec::new();
    for &dimension in shape {
        let mut one = Vec::new();
        if dimension == -1 {
            bytes(&mut one, 2, b"length");
        } else {
            number(&mut one, 1, dimension);
        }
        bytes(&mut dimensions, 1, &one);
    }
    let mut tensor = Vec::new();
    number(&mut tensor, 1, kind as i64);
    bytes(&mut tensor, 2, &dimensions);
    let mut kind = Vec::new();
    bytes(&mut kind, 1, &tensor);
    let mut value = Vec::new();
    bytes(&mut value, 1, name.as_bytes());
    bytes(&mut value, 2, &kind);
    value
}

impl Onnx {
    pub fn input(&mut self, name: &str, kind: Kind, shape: &[i64]) {
        bytes(&mut self.inputs, 11, &value(name, kind, shape));
    }

    pub fn output(&mut self, name: &str, kind: Kind, shape: &[i64]) {
        bytes(&mut self.outputs, 12, &value(name, kind, shape));
    }

    fn constant(&mut self, kind: Kind, shape: &[i64], raw: &[u8]) -> String {
        let name = format!("constant{}", self.names);
        self.names += 1;
        let mut tensor = Vec::new();
        shape.iter().for_each(|&dimension| number(&mut tensor, 1, dimension));
        number(&mut tensor, 2, kind as i64);
        bytes(&mut tensor, 8, name.as_bytes());
        bytes(&mut tensor, 9, raw);
        bytes(&mut self.initializers, 5, &tensor);
        name
    }

    /// A constant of floats; its name.
    pub fn floats(&mut self, shape: &[i64], values: &[f32]) -> String {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(Kind::Float, shape, &raw)
    }

    /// A constant of integers; its name.
    pub fn integers(&mut self, values: &[i64]) -> String {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(Kind::Int64, &[values.len() as i64], &raw)
    }

    /// An operator with integer attributes, into `output`.
    pub fn node_into(&mut self, operator: &str, inputs: &[&str], attributes: &[(&str, i64)], output: &str) {
        let mut node = Vec::new();
        inputs.iter().for_each(|input| bytes(&mut node, 1, input.as_bytes()));
        bytes(&mut node, 2, output.as_bytes());
        bytes(&mut node, 4, operator.as_bytes());
        for &(name, value) in attributes {
            let mut attribute = Vec::new();
            bytes(&mut attribute, 1, name.as_bytes());
            number(&mut attribute, 3, value);
            // AttributeProto.INT
            number(&mut attribute, 20, 2);
            bytes(&mut node, 5, &attribute);
        }
        bytes(&mut self.nodes, 1, &node);
    }

    /// An operator; the name of what it puts out.
    pub fn node(&mut self, operator: &str, inputs: &[&str], attributes: &[(&str, i64)]) -> String {
        let name = format!("value{}", self.names);
        self.names += 1;
        self.node_into(operator, inputs, attributes, &name);
        name
    }

    /// The file.
    pub fn file(&self) -> Vec<u8> {
        let mut graph = self.nodes.clone();
        bytes(&mut graph, 2, b"made");
        graph.extend_from_slice(&self.initializers);
        graph.extend_from_slice(&self.inputs);
        graph.extend_from_slice(&self.outputs);
        let mut operators = Vec::new();
        bytes(&mut operators, 1, b"");
        number(&mut operators, 2, 17);
        let mut model = Vec::new();
        number(&mut model, 1, 8);
        bytes(&mut model, 7, &graph);
        bytes(&mut model, 8, &operators);
        model
    }
}

/// Where a graph can have a tensor whose values lie in another file.
#[derive(Clone, Copy)]
pub enum Elsewhere {
    Initializer,
    Constant,
    Attributes,
    Sparse,
    SparseConstant,
    Branch,
    DeepBranch,
    Branches,
    Function,
    FunctionDefault,
}

impl Elsewhere {
    /// All of them, by name.
    pub const ALL: [(&str, Self); 10] = [
        ("an initializer", Self::Initializer),
        ("a constant", Self::Constant),
        ("a list of tensors", Self::Attributes),
        ("a sparse initializer", Self::Sparse),
        ("a sparse constant", Self::SparseConstant),
        ("a subgraph", Self::Branch),
        ("a subgraph's subgraph", Self::DeepBranch),
        ("a list of subgraphs", Self::Branches),
        ("a function", Self::Function),
        ("a function's default", Self::FunctionDefault),
    ];
}

/// A message's attribute: its name, and a field of the number.
fn attribute(name: &str, field: u64, content: &[u8]) -> Vec<u8> {
    let mut attribute = Vec::new();
    bytes(&mut attribute, 1, name.as_bytes());
    bytes(&mut attribute, field, content);
    attribute
}

/// An operator with one attribute.
fn operator(name: &str, attribute: &[u8]) -> Vec<u8> {
    let mut node = Vec::new();
    bytes(&mut node, 4, name.as_bytes());
    bytes(&mut node, 5, attribute);
    node
}

fn inside(field: u64, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, field, content);
    out
}

impl Onnx {
    /// A graph's file with one tensor more, called `leak`, of so many bytes at a location.
    pub fn with_elsewhere(file: &[u8], elsewhere: Elsewhere, location: &str, length: i64) -> Vec<u8> {
        let mut leak = Vec::new();
        number(&mut leak, 1, length);
        number(&mut leak, 2, 2);
        bytes(&mut leak, 8, b"leak");
        for (key, value) in [("location", location), ("offset", "0"), ("length", &length.to_string())] {
            let mut entry = Vec::new();
            bytes(&mut entry, 1, key.as_bytes());
            bytes(&mut entry, 2, value.as_bytes());
            bytes(&mut leak, 13, &entry);
        }
        number(&mut leak, 14, 1);
        let constant = operator("Constant", &attribute("value", 5, &leak));
        let sparse = inside(1, &leak);
        let branch = inside(1, &constant);
        let deep = inside(1, &operator("If", &attribute("then_branch", 6, &branch)));
        let graph = |content: &[u8]| inside(7, content);
        let more = match elsewhere {
            Elsewhere::Initializer => graph(&inside(5, &leak)),
            Elsewhere::Constant => graph(&inside(1, &constant)),
            Elsewhere::Attributes => graph(&inside(1, &operator("Custom", &attribute("values", 10, &leak)))),
            Elsewhere::Sparse => graph(&inside(15, &sparse)),
            Elsewhere::SparseConstant => {
                graph(&inside(1, &operator("Constant", &attribute("sparse_value", 22, &sparse))))
            }
            Elsewhere::Branch => graph(&deep),
            Elsewhere::DeepBranch => graph(&inside(1, &operator("Loop", &attribute("body", 6, &deep)))),
            Elsewhere::Branches => graph(&inside(1, &operator("Custom", &attribute("graphs", 11, &branch)))),
            Elsewhere::Function => inside(25, &inside(7, &constant)),
            Elsewhere::FunctionDefault => inside(25, &inside(11, &attribute("value", 5, &leak))),
        };
        // Parsers merge the two graphs into one.
        [file, &more].concat()
    }
}

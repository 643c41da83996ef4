//! Writes ONNX files: the part of `onnx.proto` needed by tests, examples and benchmarks.

/// Element types of `onnx.proto`.
pub const F32: u64 = 1;
pub const I64: u64 = 7;
pub const BOOL: u64 = 9;

const FLOAT: u64 = 1;
const INT: u64 = 2;
const STRING: u64 = 3;
const TENSOR: u64 = 4;
const GRAPH: u64 = 5;
const INTS: u64 = 7;

fn varint(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// A field of bytes: a text or a message.
pub fn wrap(field: u64, inner: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(inner.len() + 12);
    varint(field << 3 | 2, &mut bytes);
    varint(inner.len() as u64, &mut bytes);
    bytes.extend_from_slice(inner);
    bytes
}

/// A field with a number.
pub fn number(field: u64, number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint(field << 3, &mut bytes);
    varint(number, &mut bytes);
    bytes
}

fn texts(field: u64, texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| wrap(field, text.as_bytes())).collect()
}

/// A node of the standard operators.
pub fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    node_of("", op, inputs, outputs, attributes)
}

pub fn node_of(domain: &str, op: &str, inputs: &[&str], outputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let attributes: Vec<u8> = attributes.iter().flat_map(|attribute| wrap(5, attribute)).collect();
    let domain = if domain.is_empty() { Vec::new() } else { wrap(7, domain.as_bytes()) };
    [texts(1, inputs), texts(2, outputs), wrap(4, op.as_bytes()), attributes, domain].concat()
}

fn attribute(name: &str, kind: u64, value: Vec<u8>) -> Vec<u8> {
    [wrap(1, name.as_bytes()), value, number(20, kind)].concat()
}

pub fn int(name: &str, value: i64) -> Vec<u8> {
    attribute(name, INT, number(3, value as u64))
}

pub fn float(name: &str, value: f32) -> Vec<u8> {
    attribute(name, FLOAT, [&[2 << 3 | 5][..], &value.to_le_bytes()].concat())
}

pub fn text(name: &str, value: &str) -> Vec<u8> {
    attribute(name, STRING, wrap(4, value.as_bytes()))
}

pub fn ints(name: &str, values: &[i64]) -> Vec<u8> {
    attribute(name, INTS, values.iter().flat_map(|value| number(8, *value as u64)).collect())
}

pub fn tensor_attribute(name: &str, tensor: &[u8]) -> Vec<u8> {
    attribute(name, TENSOR, wrap(5, tensor))
}

pub fn graph_attribute(name: &str, graph: &[u8]) -> Vec<u8> {
    attribute(name, GRAPH, wrap(6, graph))
}

/// A tensor with its data in one piece.
pub fn tensor(name: &str, kind: u64, dims: &[i64], data: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|dim| number(1, *dim as u64)).collect();
    [dims, number(2, kind), wrap(8, name.as_bytes()), wrap(9, data)].concat()
}

pub fn floats(name: &str, dims: &[i64], values: &[f32]) -> Vec<u8> {
    tensor(name, F32, dims, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
}

pub fn integers(name: &str, dims: &[i64], values: &[i64]) -> Vec<u8> {
    tensor(name, I64, dims, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
}

/// A tensor with its data in another file.
pub fn external(name: &str, kind: u64, dims: &[i64], location: &str) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|dim| number(1, *dim as u64)).collect();
    let place = wrap(13, &[wrap(1, b"location"), wrap(2, location.as_bytes())].concat());
    [dims, number(2, kind), wrap(8, name.as_bytes()), place, number(14, 1)].concat()
}

/// A dimension of a port.
#[derive(Clone, Copy)]
pub enum Size<'a> {
    Fixed(i64),
    Open(&'a str),
}

pub fn port(name: &str, kind: u64, dims: &[Size<'_>]) -> Vec<u8> {
    let dim = |size: &Size<'_>| match size {
        Size::Fixed(size) => wrap(1, &number(1, *size as u64)),
        Size::Open(name) => wrap(1, &wrap(2, name.as_bytes())),
    };
    let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
    let tensor = [number(1, kind), wrap(2, &shape)].concat();
    [wrap(1, name.as_bytes()), wrap(2, &wrap(1, &tensor))].concat()
}

/// The parts of a graph; each part is a message made by the functions above.
#[derive(Default, Clone)]
pub struct Graph {
    pub nodes: Vec<Vec<u8>>,
    pub constants: Vec<Vec<u8>>,
    pub inputs: Vec<Vec<u8>>,
    pub outputs: Vec<Vec<u8>>,
    pub values: Vec<Vec<u8>>,
}

impl Graph {
    pub fn bytes(&self) -> Vec<u8> {
        let Self { nodes, constants, inputs, outputs, values } = self;
        let parts = [(1, nodes), (5, constants), (11, inputs), (12, outputs), (13, values)];
        let mut bytes = wrap(2, b"graph");
        for (field, messages) in parts {
            messages.iter().for_each(|message| bytes.extend(wrap(field, message)));
        }
        bytes
    }

    pub fn model(&self) -> Vec<u8> {
        self.model_with(&[])
    }

    /// A model with operators of further domains.
    pub fn model_with(&self, domains: &[&str]) -> Vec<u8> {
        let domain = |name: &str, version| wrap(8, &[wrap(1, name.as_bytes()), number(2, version)].concat());
        let mut bytes = [number(1, 8), domain("", 17)].concat();
        domains.iter().for_each(|name| bytes.extend(domain(name, 1)));
        bytes.extend(wrap(7, &self.bytes()));
        bytes
    }
}

/// `x` of `[batch, width]` through `products` square matrices: about `products * width² * 4` bytes.
pub fn weighty(width: usize, products: usize) -> Vec<u8> {
    let (side, open) = (Size::Fixed(width as i64), Size::Open("batch"));
    let name = |at: usize| if at == 0 { "x".to_owned() } else { format!("h{at}") };
    let mut graph = Graph { inputs: vec![port("x", F32, &[open, side])], ..Graph::default() };
    for at in 0..products {
        // All weights differ, so that sharing saves no memory.
        let values: Vec<f32> = (0..width * width).map(|cell| ((cell * 31 + at) % 1009) as f32 / 65536.0).collect();
        let weights = format!("w{at}");
        graph.constants.push(floats(&weights, &[width as i64, width as i64], &values));
        graph.nodes.push(node("MatMul", &[&name(at), &weights], &[&name(at + 1)], &[]));
    }
    graph.outputs.push(port(&name(products), F32, &[open, side]));
    graph.model()
}

/// A loop of `i64::MAX` turns; each turn adds one to `x`.
pub fn endless() -> Vec<u8> {
    let one = |name: &str, kind| port(name, kind, &[]);
    let body = Graph {
        nodes: vec![node("Identity", &["going"], &["still"], &[]), node("Add", &["carried", "step"], &["more"], &[])],
        constants: vec![floats("step", &[1], &[1.0])],
        inputs: vec![one("turn", I64), one("going", BOOL), port("carried", F32, &[Size::Open("n")])],
        outputs: vec![one("still", BOOL), port("more", F32, &[Size::Open("n")])],
        ..Graph::default()
    };
    Graph {
        nodes: vec![node("Loop", &["turns", "go", "x"], &["y"], &[graph_attribute("body", &body.bytes())])],
        constants: vec![integers("turns", &[], &[i64::MAX]), tensor("go", BOOL, &[], &[1])],
        inputs: vec![port("x", F32, &[Size::Open("n")])],
        outputs: vec![port("y", F32, &[Size::Open("n")])],
        ..Graph::default()
    }
    .model()
}

/// A loop of `x` turns: the run time depends on the request.
pub fn turns() -> Vec<u8> {
    let one = |name: &str, kind| port(name, kind, &[]);
    let body = Graph {
        nodes: vec![node("Identity", &["going"], &["still"], &[]), node("Add", &["carried", "step"], &["more"], &[])],
        constants: vec![integers("step", &[], &[1])],
        inputs: vec![one("turn", I64), one("going", BOOL), one("carried", I64)],
        outputs: vec![one("still", BOOL), one("more", I64)],
        ..Graph::default()
    };
    Graph {
        nodes: vec![node("Loop", &["x", "go", "zero"], &["y"], &[graph_attribute("body", &body.bytes())])],
        constants: vec![integers("zero", &[], &[0]), tensor("go", BOOL, &[], &[1])],
        inputs: vec![one("x", I64)],
        outputs: vec![one("y", I64)],
        ..Graph::default()
    }
    .model()
}

/// A loop of `x` turns; it keeps the output of every turn.
pub fn collecting() -> Vec<u8> {
    let one = |name: &str, kind| port(name, kind, &[]);
    let body = Graph {
        nodes: vec![
            node("Identity", &["going"], &["still"], &[]),
            node("Add", &["carried", "step"], &["more"], &[]),
            node("Identity", &["more"], &["kept"], &[]),
        ],
        constants: vec![floats("step", &[1], &[1.0])],
        inputs: vec![one("turn", I64), one("going", BOOL), port("carried", F32, &[Size::Open("n")])],
        outputs: vec![one("still", BOOL), port("more", F32, &[Size::Open("n")]), port("kept", F32, &[Size::Open("n")])],
        ..Graph::default()
    };
    Graph {
        nodes: vec![node("Loop", &["x", "go", "v"], &["y", "all"], &[graph_attribute("body", &body.bytes())])],
        constants: vec![tensor("go", BOOL, &[], &[1])],
        inputs: vec![one("x", I64), port("v", F32, &[Size::Open("n")])],
        outputs: vec![port("y", F32, &[Size::Open("n")]), port("all", F32, &[Size::Open("m"), Size::Open("n")])],
        ..Graph::default()
    }
    .model()
}

/// The sum of `count` ones; all of them are in memory before the sum begins.
pub fn greedy(count: i64) -> Vec<u8> {
    let ones = tensor_attribute("value", &floats("one", &[1], &[1.0]));
    Graph {
        nodes: vec![
            node("ConstantOfShape", &["count"], &["ones"], &[ones]),
            node("ReduceSum", &["ones"], &["sum"], &[int("keepdims", 0)]),
            node("Add", &["sum", "x"], &["y"], &[]),
        ],
        constants: vec![integers("count", &[1], &[count])],
        inputs: vec![port("x", F32, &[Size::Open("n")])],
        outputs: vec![port("y", F32, &[Size::Open("n")])],
        ..Graph::default()
    }
    .model()
}

//! Bad models: broken, absurd, greedy and endless ones. Equal seeds give equal models.

use crate::onnx::{
    BOOL, F32, Graph, I64, Size, collecting, endless, external, float, floats, graph_attribute, int, integers, ints,
    node, node_of, number, port, tensor, tensor_attribute, text, turns, weighty, wrap,
};
use crate::random::Random;

pub struct Bad {
    /// The fault class, for runs with a few models of each.
    pub kind: &'static str,
    pub name: String,
    pub bytes: Vec<u8>,
}

/// More than 300 models, some of them made of the good models in `real`.
pub fn corpus(seed: u64, real: &[Vec<u8>]) -> Vec<Bad> {
    let mut random = Random::new(seed);
    let mut all = Vec::new();
    let own = [turns(), weighty(8, 3), collecting()];
    for (at, model) in real.iter().chain(&own).enumerate() {
        spoilt(&mut all, &mut random, at, model);
    }
    let parts = [
        ("outside", outside()),
        ("absurd", absurd()),
        ("greedy", greedy()),
        ("endless", endless_ones()),
        ("strangers", strangers()),
        ("mistakes", mistakes()),
        ("evil attributes", evil_attributes()),
        ("evil constants", evil_constants()),
        ("deep", deep()),
    ];
    for (kind, models) in parts {
        all.extend(models.into_iter().map(|model| Bad { kind, ..model }));
    }
    all
}

fn bad(name: impl Into<String>, bytes: Vec<u8>) -> Bad {
    Bad { kind: "", name: name.into(), bytes }
}

/// Truncated models, models with flipped bits, and models with one piece copied over another.
fn spoilt(all: &mut Vec<Bad>, random: &mut Random, at: usize, model: &[u8]) {
    for turn in 0..9 {
        let cut = random.below(model.len());
        all.push(Bad { kind: "cut", ..bad(format!("model {at} cut {turn} at {cut}"), model[..cut].to_vec()) });
    }
    for turn in 0..16 {
        let mut bytes = model.to_vec();
        for _ in 0..=turn / 4 {
            let place = random.below(bytes.len());
            bytes[place] ^= 1 << random.below(8);
        }
        all.push(Bad { kind: "flipped", ..bad(format!("model {at} flipped {turn}"), bytes) });
    }
    for turn in 0..5 {
        let mut bytes = model.to_vec();
        let len = random.below(24).min(bytes.len() / 2);
        let (from, to) = (random.below(bytes.len() - len), random.below(bytes.len() - len));
        bytes.copy_within(from..from + len, to);
        all.push(Bad { kind: "smeared", ..bad(format!("model {at} smeared {turn}"), bytes) });
    }
}

/// A graph with these nodes, from `x` to `y`, both f32 of any size.
fn around(nodes: Vec<Vec<u8>>, constants: Vec<Vec<u8>>) -> Graph {
    let open = [Size::Open("n"), Size::Open("m")];
    Graph { nodes, constants, inputs: vec![port("x", F32, &open)], outputs: vec![wrap(1, b"y")], ..Graph::default() }
}

/// A model with the type of `y` declared.
fn typed(graph: Graph) -> Vec<u8> {
    Graph { outputs: vec![port("y", F32, &[Size::Open("a"), Size::Open("b")])], ..graph }.model()
}

fn outside() -> Vec<Bad> {
    let places = [
        "/etc/passwd",
        "../../../../../../etc/shadow",
        "*/_ORT_MEM_ADDR_/*",
        "/proc/self/mem",
        "/dev/zero",
        "",
        "weights.bin",
        "..\\..\\boot.ini",
    ];
    let mut all = Vec::new();
    for place in places {
        let weights = external("w", F32, &[2, 2], place);
        let multiply = node("MatMul", &["x", "w"], &["y"], &[]);
        all.push(bad(format!("outside {place:?}"), typed(around(vec![multiply.clone()], vec![weights.clone()]))));
        let constant = node("Constant", &[], &["w"], &[tensor_attribute("value", &weights)]);
        all.push(bad(format!("constant outside {place:?}"), typed(around(vec![constant, multiply], Vec::new()))));
    }
    all
}

fn absurd() -> Vec<Bad> {
    let shapes: [&[i64]; 7] =
        [&[1 << 62], &[-2], &[i64::MIN], &[1 << 32, 1 << 32], &[1 << 20; 3], &[i64::MAX, 2], &[0, 1 << 62]];
    let mut all = Vec::new();
    for shape in shapes {
        let copy = || vec![node("Identity", &["x"], &["y"], &[])];
        let multiply = || vec![node("MatMul", &["x", "w"], &["y"], &[])];
        let sizes: Vec<_> = shape.iter().map(|size| Size::Fixed(*size)).collect();
        let weights = tensor("w", F32, shape, b"");
        all.push(bad(format!("weights of {shape:?}"), typed(around(multiply(), vec![weights.clone()]))));
        let constant = node("Constant", &[], &["w"], &[tensor_attribute("value", &weights)]);
        let nodes = [vec![constant], multiply()].concat();
        all.push(bad(format!("a constant of {shape:?}"), typed(around(nodes, Vec::new()))));
        let given = Graph { inputs: vec![port("x", F32, &sizes)], ..around(copy(), Vec::new()) };
        all.push(bad(format!("an input of {shape:?}"), typed(given)));
        let between = Graph { values: vec![port("y", F32, &sizes)], ..around(copy(), Vec::new()) };
        all.push(bad(format!("a value of {shape:?}"), typed(between)));
    }
    for len in [0, 1, 15, 17, 4096] {
        let weights = tensor("w", F32, &[2, 2], &vec![0; len]);
        let multiply = vec![node("MatMul", &["x", "w"], &["y"], &[])];
        all.push(bad(format!("weights of {len} bytes"), typed(around(multiply, vec![weights]))));
    }
    all
}

/// Models that need more memory than the machine has, at load or at run.
fn greedy() -> Vec<Bad> {
    let mut all = Vec::new();
    for power in [28, 31, 34, 40, 61, 62] {
        let shape = || integers("s", &[1], &[1 << power]);
        let sum = |name: &str| node("ReduceSum", &[name], &["y"], &[int("keepdims", 1)]);
        let filled = vec![node("ConstantOfShape", &["s"], &["c"], &[]), sum("c")];
        all.push(bad(format!("2^{power} constants"), around(filled, vec![shape()]).model()));
        let filled = vec![node("Expand", &["x", "s"], &["c"], &[]), sum("c")];
        all.push(bad(format!("expanded to 2^{power}"), around(filled, vec![shape()]).model()));
        let ends = vec![integers("b", &[], &[0]), integers("e", &[], &[1 << power]), integers("d", &[], &[1])];
        let counted = vec![node("Range", &["b", "e", "d"], &["c"], &[]), sum("c")];
        all.push(bad(format!("a range to 2^{power}"), around(counted, ends).model()));
        let tiled = vec![node("Tile", &["o", "s"], &["c"], &[]), sum("c")];
        all.push(bad(
            format!("tiled 2^{power} times"),
            around(tiled, vec![shape(), floats("o", &[1], &[1.0])]).model(),
        ));
        let padded = vec![node("Pad", &["o", "p"], &["c"], &[]), sum("c")];
        let pads = vec![integers("p", &[2], &[0, 1 << power]), floats("o", &[1], &[1.0])];
        all.push(bad(format!("padded by 2^{power}"), around(padded, pads).model()));
        let hot = vec![node("OneHot", &["o", "h", "v"], &["y"], &[])];
        let hots = vec![integers("o", &[1], &[1]), integers("h", &[], &[1 << power]), floats("v", &[2], &[0.0, 1.0])];
        all.push(bad(format!("2^{power} hot"), around(hot, hots).model()));
    }
    for (operator, inputs) in [("ConstantOfShape", &["x"][..]), ("Range", &["zero", "x", "one"])] {
        let rank = if operator == "Range" { vec![] } else { vec![Size::Fixed(1)] };
        let graph = Graph {
            nodes: vec![node(operator, inputs, &["y"], &[])],
            constants: vec![integers("zero", &[], &[0]), integers("one", &[], &[1])],
            inputs: vec![port("x", I64, &rank)],
            outputs: vec![wrap(1, b"y")],
            ..Graph::default()
        };
        all.push(bad(format!("{operator} as asked"), graph.model()));
    }
    all
}

fn endless_ones() -> Vec<Bad> {
    let waits = |condition: u8, body_says: u8| {
        let body = Graph {
            nodes: vec![node("Add", &["carried", "carried"], &["more"], &[])],
            constants: vec![tensor("still", BOOL, &[], &[body_says])],
            inputs: vec![port("turn", I64, &[]), port("going", BOOL, &[]), port("carried", F32, &[Size::Open("n")])],
            outputs: vec![port("still", BOOL, &[]), port("more", F32, &[Size::Open("n")])],
            ..Graph::default()
        };
        let turn = node("Loop", &["", "go", "x"], &["y"], &[graph_attribute("body", &body.bytes())]);
        let graph = around(vec![turn], vec![tensor("go", BOOL, &[], &[condition])]);
        Graph { inputs: vec![port("x", F32, &[Size::Open("n")])], ..graph }.model()
    };
    vec![
        bad("a loop without an end", endless()),
        bad("a loop without a count", waits(1, 1)),
        bad("a loop that stops", waits(1, 0)),
        bad("a loop that never begins", waits(0, 1)),
        bad("a loop whose condition is no bool", waits(7, 9)),
    ]
}

fn strangers() -> Vec<Bad> {
    let mut all = Vec::new();
    for domain in ["my.ops", "ai.onnx.contrib", "org.pytorch.aten", "com.microsoft.extra", " ", "ai.onnx\0"] {
        let spell = node_of(domain, "Spell", &["x"], &["y"], &[]);
        all.push(bad(format!("an operator of {domain:?}"), around(vec![spell], Vec::new()).model_with(&[domain])));
    }
    let context = [int("main_context", 1), int("embed_mode", 0), text("ep_cache_context", "/etc/passwd")];
    for domain in ["com.microsoft", ""] {
        let context = node_of(domain, "EPContext", &["x"], &["y"], &context);
        all.push(bad(
            format!("EPContext of {domain:?}"),
            around(vec![context], Vec::new()).model_with(&["com.microsoft"]),
        ));
    }
    for operator in ["Attention", "FusedMatMul", "QLinearAdd", "MoE", "BeamSearch", "NoSuchOperator"] {
        let spell = node_of("com.microsoft", operator, &["x"], &["y"], &[]);
        all.push(bad(
            format!("com.microsoft {operator}"),
            around(vec![spell], Vec::new()).model_with(&["com.microsoft"]),
        ));
    }
    for len in [8, 64, 4096] {
        let own = [&[8, 0, 0, 0][..], b"ORTM", &vec![0x41; len]].concat();
        all.push(bad(format!("the runtime's own format, {len} bytes"), own));
    }
    all
}

fn mistakes() -> Vec<Bad> {
    let copy = || node("Identity", &["x"], &["y"], &[]);
    let long = "n".repeat(1 << 20);
    let cases: [(&str, Vec<Vec<u8>>); 14] = [
        ("no nodes", Vec::new()),
        ("an unknown input", vec![node("Identity", &["nobody"], &["y"], &[])]),
        ("two makers of one value", vec![copy(), copy()]),
        ("a circle", vec![node("Add", &["x", "b"], &["a"], &[]), node("Add", &["a", "a"], &["b"], &[]), copy()]),
        ("no operator", vec![node("", &["x"], &["y"], &[])]),
        ("an unknown operator", vec![node("Spell", &["x"], &["y"], &[])]),
        ("too many inputs", vec![node("Identity", &["x"; 500], &["y"], &[])]),
        ("too few inputs", vec![node("MatMul", &["x"], &["y"], &[])]),
        ("too many outputs", vec![node("Identity", &["x"], &["y", "z", "w"], &[])]),
        ("text where a number belongs", vec![node("Concat", &["x", "x"], &["y"], &[text("axis", "first")])]),
        ("an unknown attribute", vec![node("Identity", &["x"], &["y"], &[int("speed", 7)])]),
        ("an attribute twice", vec![node("Concat", &["x", "x"], &["y"], &[int("axis", 0), int("axis", 1)])]),
        (
            "a name of a megabyte",
            vec![node("Identity", &["x"], &[&long], &[]), node("Identity", &[&long], &["y"], &[])],
        ),
        ("names with control characters", vec![node("Identity", &["x"], &["\0\u{1b}[2J"], &[]), copy()]),
    ];
    let mut all: Vec<Bad> =
        cases.into_iter().map(|(name, nodes)| bad(name, typed(around(nodes, Vec::new())))).collect();
    let good = typed(around(vec![copy()], Vec::new()));
    all.push(bad("nothing", Vec::new()));
    all.push(bad("no graph", number(1, 8)));
    all.push(bad("no operator set", [number(1, 8), wrap(7, &around(vec![copy()], Vec::new()).bytes())].concat()));
    all.push(bad("a version of the far future", [&good[..], &number(1, 1 << 40)].concat()));
    all.push(bad("an operator set of the far future", [&good[..], &wrap(8, &number(2, 1 << 40))].concat()));
    all.push(bad("an operator set below zero", [&good[..], &wrap(8, &number(2, u64::MAX))].concat()));
    all.push(bad("the same twice", good.repeat(2)));
    let twice = Graph { inputs: vec![port("x", F32, &[]), port("x", I64, &[])], ..around(vec![copy()], Vec::new()) };
    all.push(bad("an input twice", typed(twice)));
    let other = Graph { outputs: vec![port("y", I64, &[Size::Fixed(3)])], ..around(vec![copy()], Vec::new()) };
    all.push(bad("an output of another type", other.model()));
    let no_utf8 = Graph { outputs: vec![wrap(1, b"\xff\xfe")], ..around(vec![copy()], Vec::new()) };
    all.push(bad("a name that is no text", no_utf8.model()));
    for kind in [0, 17, 99, 1 << 40] {
        let graph = Graph { inputs: vec![port("x", kind, &[Size::Fixed(1)])], ..around(vec![copy()], Vec::new()) };
        all.push(bad(format!("an input of type {kind}"), typed(graph)));
        let constants = vec![tensor("w", kind, &[1], &[0; 4])];
        all.push(bad(
            format!("weights of type {kind}"),
            typed(around(vec![node("Add", &["x", "w"], &["y"], &[])], constants)),
        ));
    }
    all
}

/// Operators with attributes for a division by zero or for an access outside the input.
fn evil_attributes() -> Vec<Bad> {
    let huge = 1 << 40;
    let on_image: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("DepthToSpace", vec![int("blocksize", 0)]),
        ("DepthToSpace", vec![int("blocksize", huge)]),
        ("SpaceToDepth", vec![int("blocksize", 0)]),
        ("SpaceToDepth", vec![int("blocksize", -1)]),
        ("MaxPool", vec![ints("kernel_shape", &[0, 0])]),
        ("MaxPool", vec![ints("kernel_shape", &[1, 1]), ints("strides", &[0, 0])]),
        ("MaxPool", vec![ints("kernel_shape", &[huge, huge]), ints("pads", &[huge; 4])]),
        ("AveragePool", vec![ints("kernel_shape", &[2, 2]), ints("strides", &[0, 1])]),
        ("AveragePool", vec![ints("kernel_shape", &[2, 2]), ints("pads", &[-9, -9, -9, -9])]),
        ("LRN", vec![int("size", 0)]),
        ("LRN", vec![int("size", -3), float("alpha", f32::NAN)]),
        ("Transpose", vec![ints("perm", &[0, 0, 0, 0])]),
        ("Transpose", vec![ints("perm", &[9, -9, 1 << 33, 2])]),
        ("Flatten", vec![int("axis", 1 << 33)]),
        ("Softmax", vec![int("axis", -99)]),
        ("Concat", vec![int("axis", i64::MIN)]),
        ("ArgMax", vec![int("axis", i64::MAX)]),
        ("LpPool", vec![ints("kernel_shape", &[2, 2]), int("p", 0)]),
        ("GlobalLpPool", vec![int("p", 0)]),
        ("Einsum", vec![text("equation", "abcd,->...->z")]),
        ("Shape", vec![int("start", i64::MIN), int("end", i64::MAX)]),
    ];
    let model = |(at, (operator, attributes)): (usize, (&str, Vec<Vec<u8>>))| {
        let nodes = vec![node(operator, &["i"], &["y"], &attributes)];
        bad(format!("{operator} with evil attributes {at}"), around(nodes, vec![image()]).model())
    };
    on_image.into_iter().enumerate().map(model).collect()
}

/// The input of the operators above and below, as a constant, so that they run while the model is loaded.
fn image() -> Vec<u8> {
    floats("i", &[1, 4, 4, 4], &[1.0; 64])
}

/// An operator, its inputs, its attributes, and the constants among its inputs.
type Folded = (&'static str, Vec<&'static str>, Vec<Vec<u8>>, Vec<Vec<u8>>);

/// Operators with constant inputs for the same faults.
fn evil_constants() -> Vec<Bad> {
    let model = |(at, (operator, inputs, attributes, constants)): (usize, Folded)| {
        let constants = [vec![image()], constants].concat();
        let nodes = vec![node(operator, &inputs, &["y"], &attributes)];
        bad(format!("{operator} over evil constants {at}"), around(nodes, constants).model())
    };
    shape_readers().into_iter().chain(shape_makers()).enumerate().map(model).collect()
}

/// Convolutions, and operators with indices into their input.
fn shape_readers() -> Vec<Folded> {
    let kernel = || floats("k", &[1, 4, 1, 1], &[1.0; 4]);
    let huge = 1 << 40;
    vec![
        ("Conv", vec!["i", "k"], vec![ints("strides", &[0, 0])], vec![kernel()]),
        ("Conv", vec!["i", "k"], vec![ints("dilations", &[huge, huge])], vec![kernel()]),
        ("Conv", vec!["i", "k"], vec![int("group", 0)], vec![kernel()]),
        ("Conv", vec!["i", "k"], vec![ints("pads", &[huge; 4])], vec![kernel()]),
        ("ConvTranspose", vec!["i", "k"], vec![ints("strides", &[huge, huge])], vec![kernel()]),
        ("Reshape", vec!["i", "s"], vec![], vec![integers("s", &[2], &[-1, -1])]),
        ("Reshape", vec!["i", "s"], vec![], vec![integers("s", &[3], &[1 << 62, 4, -1])]),
        ("Slice", vec!["i", "s", "s", "s", "s"], vec![], vec![integers("s", &[1], &[0])]),
        (
            "Slice",
            vec!["i", "a", "b", "c"],
            vec![],
            vec![integers("a", &[1], &[i64::MIN]), integers("b", &[1], &[i64::MAX]), integers("c", &[1], &[9])],
        ),
        ("TopK", vec!["i", "s"], vec![int("axis", 0)], vec![integers("s", &[1], &[1 << 40])]),
        ("Gather", vec!["i", "s"], vec![int("axis", 3)], vec![integers("s", &[2], &[1 << 40, -99])]),
        ("GatherND", vec!["i", "s"], vec![int("batch_dims", 99)], vec![integers("s", &[1, 1], &[i64::MIN])]),
        ("GatherElements", vec!["i", "s"], vec![], vec![integers("s", &[1, 1, 1, 1], &[1 << 40])]),
        (
            "ScatterElements",
            vec!["i", "s", "u"],
            vec![],
            vec![integers("s", &[1, 1, 1, 1], &[1 << 40]), floats("u", &[1, 1, 1, 1], &[1.0])],
        ),
        (
            "ScatterND",
            vec!["i", "s", "u"],
            vec![],
            vec![integers("s", &[1, 4], &[0, 0, 99, -99]), floats("u", &[1], &[1.0])],
        ),
    ]
}

/// Operators with a new shape for their output, and recurrent ones.
fn shape_makers() -> Vec<Folded> {
    vec![
        ("Split", vec!["i", "s"], vec![], vec![integers("s", &[1], &[-1])]),
        ("Unsqueeze", vec!["i", "s"], vec![], vec![integers("s", &[2], &[1 << 40, 1 << 40])]),
        ("Squeeze", vec!["i", "s"], vec![], vec![integers("s", &[1], &[i64::MIN])]),
        ("Resize", vec!["i", "", "f"], vec![], vec![floats("f", &[4], &[1e30; 4])]),
        ("Resize", vec!["i", "", "f"], vec![], vec![floats("f", &[4], &[-1.0, 0.0, f32::NAN, 1.0])]),
        ("Resize", vec!["i", "", "", "s"], vec![], vec![integers("s", &[4], &[1, 4, 1 << 30, 1 << 30])]),
        ("CumSum", vec!["i", "s"], vec![], vec![integers("s", &[1], &[1 << 40])]),
        ("ReduceSum", vec!["i", "s"], vec![], vec![integers("s", &[2], &[99, -99])]),
        ("GridSample", vec!["i", "g"], vec![], vec![floats("g", &[1, 1, 1, 2], &[f32::NAN, 1e30])]),
        (
            "MaxUnpool",
            vec!["i", "s"],
            vec![ints("kernel_shape", &[2, 2])],
            vec![integers("s", &[1, 4, 4, 4], &[1 << 40; 64])],
        ),
        ("LSTM", vec!["w3", "w3", "w3"], vec![int("hidden_size", -1)], vec![floats("w3", &[1, 1, 1], &[1.0])]),
        ("GRU", vec!["w3", "w3", "w3"], vec![int("hidden_size", 1 << 40)], vec![floats("w3", &[1, 1, 1], &[1.0])]),
        (
            "NonMaxSuppression",
            vec!["w3", "w3", "s"],
            vec![],
            vec![floats("w3", &[1, 1, 1], &[1.0]), integers("s", &[1], &[-1])],
        ),
        (
            "TfIdfVectorizer",
            vec!["s"],
            vec![
                int("max_gram_length", 99),
                int("max_skip_count", -1),
                int("min_gram_length", 0),
                text("mode", "TF"),
                ints("ngram_counts", &[9, -9]),
                ints("ngram_indexes", &[1 << 40]),
                ints("pool_int64s", &[1]),
            ],
            vec![integers("s", &[1], &[1])],
        ),
    ]
}

fn deep() -> Vec<Bad> {
    let mut all = Vec::new();
    for depth in [4, 20, 60, 200, 2000] {
        let mut graph = Graph {
            outputs: vec![port("z", F32, &[])],
            ..around(vec![node("Identity", &["x"], &["z"], &[])], Vec::new())
        };
        graph.inputs.clear();
        for _ in 0..depth {
            let branch = graph.bytes();
            let both = [graph_attribute("then_branch", &branch), graph_attribute("else_branch", &branch)];
            // A copy in the other branch would double the size at each level.
            let both = if depth > 4 { [both[0].clone(), graph_attribute("else_branch", b"")] } else { both };
            graph.nodes = vec![node("If", &["go"], &["z"], &both)];
        }
        graph.inputs = vec![port("x", F32, &[Size::Open("n"), Size::Open("m")])];
        graph.constants = vec![tensor("go", BOOL, &[], &[1])];
        all.push(bad(format!("branches {depth} deep"), graph.model()));
    }
    for count in [1000, 20_000] {
        let name = |at: usize| if at == 0 { "x".to_owned() } else { format!("v{at}") };
        let mut nodes: Vec<_> = (0..count).map(|at| node("Neg", &[&name(at)], &[&name(at + 1)], &[])).collect();
        nodes.push(node("Identity", &[&name(count)], &["y"], &[]));
        all.push(bad(format!("a chain of {count}"), typed(around(nodes, Vec::new()))));
    }
    all
}

//! Stacks: messages of one shape share a run, each gets its own rows, and unfit ones get a reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use inferbus_abi::frame::{DataType, Shape, Tensor};
use inferbus_engine::{Dim, FakeNetwork, Model, ModelFault, Network as _, NoStack, Port, Signature, Stacks, can_stack};

fn port(name: &str, dtype: DataType, rest: &[u64]) -> Port {
    let shape = std::iter::once(Dim::Symbolic("n".into())).chain(rest.iter().map(|size| Dim::Fixed(*size)));
    Port { name: name.into(), dtype, shape: shape.collect() }
}

fn open(name: &str, rank: usize) -> Port {
    Port { name: name.into(), dtype: DataType::U8, shape: vec![Dim::Symbolic(String::new()); rank] }
}

fn tensor<'a>(name: &'a str, shape: &'a [u64], data: &'a [u8]) -> Tensor<'a> {
    Tensor { name, dtype: DataType::U8, shape: Shape::from(shape), data }
}

/// Adds one to each byte, and counts its runs. Fails on a byte 255.
fn adder(runs: &Arc<AtomicUsize>, rank: usize) -> (Signature, Box<dyn Model>) {
    let signature = Signature { inputs: vec![open("x", rank)], outputs: vec![open("y", rank)] };
    let runs = runs.clone();
    let network = FakeNetwork::new(signature.clone(), move |inputs, take| {
        runs.fetch_add(1, Ordering::Relaxed);
        if inputs[0].data.contains(&255) {
            return Err(ModelFault::Failed("told to".into()));
        }
        let data: Vec<u8> = inputs[0].data.iter().map(|byte| byte + 1).collect();
        take(&[Tensor { name: "y", data: &data, ..*inputs[0] }]);
        Ok(())
    });
    (signature, network.session().unwrap())
}

type Given = Vec<(usize, Vec<u64>, Vec<u8>)>;

fn run_all(stacks: &Stacks<'_>, model: &mut dyn Model) -> Vec<Given> {
    let given = stacks.iter().map(|(stack, _)| {
        let mut given = Vec::new();
        stacks
            .run(stack, model, &mut |member, outputs| {
                given.push((member, outputs[0].shape.iter().collect(), outputs[0].data.to_vec()));
            })
            .unwrap();
        given
    });
    given.collect()
}

#[test]
fn messages_of_one_shape_share_a_run_and_get_their_own_rows() {
    let runs = Arc::default();
    let (signature, mut model) = adder(&runs, 2);
    let mut stacks = Stacks::new(&signature, 1 << 20);
    let pushed = [
        (vec![1, 2], vec![1, 2]),
        (vec![2, 2], vec![3, 4, 5, 6]),
        (vec![1, 3], vec![7, 8, 9]),
        (vec![1, 2], vec![0, 0]),
    ]
    .map(|(shape, data)| stacks.push(&[tensor("x", &shape, &data)]).unwrap());
    assert_eq!(pushed, [0, 0, 1, 0]);
    let given = run_all(&stacks, model.as_mut());
    assert_eq!(
        given,
        [
            vec![(0, vec![1, 2], vec![2, 3]), (1, vec![2, 2], vec![4, 5, 6, 7]), (2, vec![1, 2], vec![1, 1])],
            vec![(0, vec![1, 3], vec![8, 9, 10])]
        ]
    );
    assert_eq!(runs.load(Ordering::Relaxed), 2);
}

#[test]
fn a_stack_takes_no_more_bytes_than_it_has_room_for() {
    let (signature, _) = adder(&Arc::default(), 2);
    let mut stacks = Stacks::new(&signature, 4);
    let push =
        |stacks: &mut Stacks<'_>, len: u64| stacks.push(&[tensor("x", &[len, 1], &vec![0; len as usize])]).unwrap();
    assert_eq!([push(&mut stacks, 3), push(&mut stacks, 2), push(&mut stacks, 1), push(&mut stacks, 9)], [0, 1, 0, 2]);
}

#[test]
fn what_has_no_rows_is_run_by_itself_in_its_own_shape() {
    let (signature, mut model) = adder(&Arc::default(), 2);
    let mut stacks = Stacks::new(&signature, 1 << 20);
    let pushed = [[0, 2], [0, 2]].map(|shape| stacks.push(&[tensor("x", &shape, &[])]).unwrap());
    assert_eq!(pushed, [0, 1]);
    let (stack, members) = stacks.iter().next().unwrap();
    assert_eq!(members, 1);
    let mut shape = Vec::new();
    stacks.run_alone(stack, 0, model.as_mut(), &mut |outputs| shape = outputs[0].shape.iter().collect()).unwrap();
    assert_eq!(shape, [0, 2]);
}

#[test]
fn a_message_that_does_not_fit_the_model_never_comes_onto_a_stack() {
    let (signature, _) = adder(&Arc::default(), 2);
    let mut stacks = Stacks::new(&signature, 1 << 20);
    let short = stacks.push(&[tensor("x", &[2, 2], &[1, 2, 3])]);
    assert!(matches!(short, Err(ModelFault::BadData { .. })), "{short:?}");
    assert!(matches!(stacks.push(&[tensor("z", &[1, 1], &[1])]), Err(ModelFault::UnknownInput { .. })));
    assert!(matches!(stacks.push(&[tensor("x", &[1], &[1])]), Err(ModelFault::WrongShape { .. })));
    assert_eq!(stacks.iter().count(), 0);
}

#[test]
fn a_stack_that_fails_lends_nothing_and_each_member_can_be_run_alone() {
    let (signature, mut model) = adder(&Arc::default(), 1);
    let mut stacks = Stacks::new(&signature, 1 << 20);
    for byte in [1, 255, 3] {
        stacks.push(&[tensor("x", &[1], &[byte])]).unwrap();
    }
    let (stack, _) = stacks.iter().next().unwrap();
    let mut lent = 0;
    assert!(stacks.run(stack, model.as_mut(), &mut |_, _| lent += 1).is_err());
    assert_eq!(lent, 0);
    let alone = [0, 1, 2].map(|member| {
        let mut out = Vec::new();
        stacks.run_alone(stack, member, model.as_mut(), &mut |outputs| out = outputs[0].data.to_vec()).map(|()| out)
    });
    assert_eq!([&alone[0], &alone[2]], [&Ok(vec![2]), &Ok(vec![4])]);
    assert!(alone[1].is_err());
}

#[test]
fn outputs_that_are_not_the_rows_that_went_in_are_a_fault() {
    let signature = Signature { inputs: vec![open("x", 1)], outputs: vec![open("y", 1)] };
    let network = FakeNetwork::new(signature.clone(), |_, take| {
        take(&[tensor("y", &[1], &[9])]);
        Ok(())
    });
    let mut stacks = Stacks::new(&signature, 1 << 20);
    for byte in [1, 2] {
        stacks.push(&[tensor("x", &[1], &[byte])]).unwrap();
    }
    let (stack, _) = stacks.iter().next().unwrap();
    let ran = stacks.run(stack, network.session().unwrap().as_mut(), &mut |_, _| panic!("nothing to lend"));
    assert!(matches!(ran, Err(ModelFault::Failed(_))), "{ran:?}");
}

#[test]
fn several_inputs_are_stacked_each_on_its_own() {
    let inputs = vec![port("a", DataType::U8, &[2]), port("b", DataType::U8, &[1])];
    let signature = Signature { inputs, outputs: vec![port("y", DataType::U8, &[1])] };
    let network = FakeNetwork::new(signature.clone(), |inputs, take| {
        let sums = inputs[0].data.chunks(2).zip(inputs[1].data).map(|(a, b)| a.iter().sum::<u8>() + b);
        let (rows, sums) = (inputs[1].shape.iter().next().unwrap(), sums.collect::<Vec<u8>>());
        take(&[tensor("y", &[rows, 1], &sums)]);
        Ok(())
    });
    let mut stacks = Stacks::new(&signature, 1 << 20);
    for byte in [1, 2] {
        // In another order than the model's.
        stacks.push(&[tensor("b", &[1, 1], &[byte]), tensor("a", &[1, 2], &[10 * byte, 100])]).unwrap();
    }
    let given = run_all(&stacks, network.session().unwrap().as_mut());
    assert_eq!(given, [vec![(0, vec![1, 1], vec![111]), (1, vec![1, 1], vec![122])]]);
}

/// A model of f32 rows with `f` over all rows at once.
fn rows(f: impl Fn(&[f32]) -> Vec<f32> + Send + Sync + 'static) -> (Signature, Box<dyn Model>) {
    let signature =
        Signature { inputs: vec![port("x", DataType::F32, &[2])], outputs: vec![port("y", DataType::F32, &[2])] };
    let network = FakeNetwork::new(signature.clone(), move |inputs, take| {
        let numbers: Vec<f32> = inputs[0].data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let data: Vec<u8> = f(&numbers).into_iter().flat_map(f32::to_le_bytes).collect();
        take(&[Tensor { name: "y", data: &data, ..*inputs[0] }]);
        Ok(())
    });
    (signature, network.session().unwrap())
}

#[test]
fn a_model_that_mixes_its_rows_is_found_by_trying() {
    let (signature, mut apart) = rows(|numbers| numbers.iter().map(|number| number * 3.0).collect());
    assert_eq!(can_stack(&signature, apart.as_mut()), Ok(()));
    let (signature, mut mixing) = rows(|numbers| {
        let sum: f32 = numbers.iter().sum();
        numbers.iter().map(|number| number / sum).collect()
    });
    assert_eq!(can_stack(&signature, mixing.as_mut()), Err(NoStack::Mixes { output: "y".into() }));
    let (signature, mut faint) = rows(|numbers| {
        let sum: f32 = numbers.iter().sum();
        numbers.iter().map(|number| number / sum * 1e-5).collect()
    });
    assert_eq!(can_stack(&signature, faint.as_mut()), Err(NoStack::Mixes { output: "y".into() }));
}

#[test]
fn half_floats_that_mix_are_found_and_others_are_stacked() {
    for dtype in [DataType::F16, DataType::Bf16] {
        let half = |name: &str| port(name, dtype, &[2]);
        let signature = Signature { inputs: vec![half("x")], outputs: vec![half("y")] };
        let given = |shift: usize| {
            let network = FakeNetwork::new(signature.clone(), move |inputs, take| {
                let mut data = inputs[0].data.to_vec();
                let len = data.len();
                data.rotate_left(shift % len);
                take(&[Tensor { name: "y", data: &data, ..*inputs[0] }]);
                Ok(())
            });
            can_stack(&signature, network.session().unwrap().as_mut())
        };
        // A shift by a whole row, invisible in a single row.
        assert_eq!((given(0), given(4)), (Ok(()), Err(NoStack::Mixes { output: "y".into() })));
    }
}

#[test]
fn a_fixed_first_dimension_and_types_without_rows_cannot_be_stacked() {
    let (signature, mut model) = rows(<[f32]>::to_vec);
    let fixed = Signature {
        inputs: vec![Port { shape: vec![Dim::Fixed(1), Dim::Fixed(2)], ..signature.inputs[0].clone() }],
        ..signature.clone()
    };
    assert!(matches!(can_stack(&fixed, model.as_mut()), Err(NoStack::Fixed { .. })));
    let words = Signature {
        outputs: vec![Port { dtype: DataType::String, ..signature.outputs[0].clone() }],
        ..signature.clone()
    };
    assert!(matches!(can_stack(&words, model.as_mut()), Err(NoStack::Type { .. })));
    let none = Signature { inputs: Vec::new(), ..signature };
    assert_eq!(can_stack(&none, model.as_mut()), Err(NoStack::NoInputs));
}

#[test]
fn a_model_that_cannot_be_tried_is_taken_at_its_word() {
    let signature = Signature { inputs: vec![open("x", 1)], outputs: vec![open("y", 1)] };
    let network = FakeNetwork::new(signature.clone(), |_, _| Err(ModelFault::Failed("not on made-up inputs".into())));
    assert_eq!(can_stack(&signature, network.session().unwrap().as_mut()), Ok(()));
}

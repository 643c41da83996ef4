//! A network without a runtime, for tests. It checks its inputs like a real network; a function computes the outputs.
//!
//! It must be as deterministic as its function.

use std::sync::Arc;

use inferbus_abi::frame::Tensor;

use crate::{EngineFault, Model, ModelFault, Network, Signature};

type Take<'t> = dyn FnMut(&[Tensor<'_>]) + 't;
type Answer = dyn Fn(&[&Tensor<'_>], &mut Take<'_>) -> Result<(), ModelFault> + Send + Sync;

/// A network on a function. The function receives the inputs in the signature's order.
#[derive(Clone)]
pub struct FakeNetwork {
    signature: Arc<Signature>,
    answer: Arc<Answer>,
}

impl FakeNetwork {
    pub fn new(
        signature: Signature,
        answer: impl Fn(&[&Tensor<'_>], &mut Take<'_>) -> Result<(), ModelFault> + Send + Sync + 'static,
    ) -> Self {
        Self { signature: Arc::new(signature), answer: Arc::new(answer) }
    }
}

impl Network for FakeNetwork {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn session(&self) -> Result<Box<dyn Model>, EngineFault> {
        Ok(Box::new(self.clone()))
    }
}

impl Model for FakeNetwork {
    fn run(&mut self, inputs: &[Tensor<'_>], take: &mut dyn FnMut(&[Tensor<'_>])) -> Result<(), ModelFault> {
        let ordered = self.signature.order(inputs)?;
        (self.answer)(&ordered, take)
    }
}

#[cfg(test)]
mod tests {
    use inferbus_abi::frame::{DataType, Shape};

    use super::*;
    use crate::Port;

    fn tensor<'a>(name: &'a str, data: &'a [u8]) -> Tensor<'a> {
        Tensor { name, dtype: DataType::U8, shape: Shape::from(&[1]), data }
    }

    #[test]
    fn a_fake_checks_and_orders_its_inputs_like_a_real_network() {
        let port = |name: &str| Port { name: name.into(), dtype: DataType::U8, shape: Vec::new() };
        let signature = Signature { inputs: vec![port("a"), port("b")], outputs: vec![port("y")] };
        let network = FakeNetwork::new(signature, |inputs, take| {
            let joined: Vec<u8> = inputs.iter().flat_map(|input| input.data).copied().collect();
            take(&[Tensor { name: "y", dtype: DataType::U8, shape: Shape::from(&[2]), data: &joined }]);
            Ok(())
        });
        let mut session = network.session().unwrap();
        let mut joined = Vec::new();
        session.run(&[tensor("b", &[2]), tensor("a", &[1])], &mut |outputs| joined = outputs[0].data.to_vec()).unwrap();
        assert_eq!(joined, [1, 2]);
        let missing = session.run(&[tensor("a", &[1])], &mut |_| panic!("nothing to lend"));
        assert_eq!(missing, Err(ModelFault::MissingInput { input: "b".into() }));
    }
}

//! A lane's reused instance against a new one for each message: no message can tell them apart.

mod generated;
mod vandal;

use crate::support::{NONE, call, load};
use inferbus_sandbox::{Because, Plugin, Strategy as Reset};
use proptest::collection::vec;
use proptest::prelude::*;
use vandal::{LASTING, STEPS, Step, message, module};

/// Unreachable code; a plugin with it gets fresh instances all the same.
const FRESH: &str = r#"(data $unused "x") (func (data.drop $unused))"#;

/// The same module again, never rewound.
fn twin(wat: &str) -> Plugin {
    let open = wat.trim_end().strip_suffix(')').unwrap();
    let twin = load(&format!("{open}{FRESH})"), NONE, b"").unwrap();
    assert!(matches!(twin.strategy(), Reset::Fresh { .. }));
    twin
}

fn messages() -> impl Strategy<Value = Vec<Vec<Step>>> {
    // Near the start of each page, near its end, anywhere.
    let at = prop_oneof![1000..1200_u32, 65_500..65_600_u32, 131_000..131_100_u32, any::<u32>()];
    vec(vec((any::<u8>(), at, any::<u64>()), 0..6), 1..20)
}

/// Passes the messages to one lane, and each to a new instance.
fn compare(plugin: &Plugin, twin: &Plugin, messages: impl IntoIterator<Item = Vec<u8>>) -> Result<(), TestCaseError> {
    let mut lane = plugin.instance();
    for (number, message) in messages.into_iter().enumerate() {
        let reused = call(&mut lane, &message);
        let new = call(&mut twin.instance(), &message);
        prop_assert!(reused == new, "message {number} can tell the reused instance from a new one");
    }
    Ok(())
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn a_rewound_instance_is_as_good_as_new() {
    // A lane's record of written pages lasts as long as the plugin, so each case gets a new plugin.
    for (pages, cases) in [(2, 400), (16, 60)] {
        let wat = module(&[], pages);
        let twin = twin(&wat);
        proptest!(config(cases), |(messages in messages())| {
            let plugin = load(&wat, NONE, b"").unwrap();
            prop_assert_eq!(plugin.strategy(), Reset::Rewind { memory: pages << 16, globals: 5 });
            compare(&plugin, &twin, messages.iter().map(|steps| message(steps)))?;
        });
    }
}

#[test]
fn what_lasts_is_noticed_and_never_rewound() {
    for (instruction, step) in LASTING {
        let wat = module(&[step], 2);
        let (plugin, twin) = (load(&wat, NONE, b"").unwrap(), twin(&wat));
        proptest!(config(60), |(messages in messages())| {
            // Every third step is the lasting one.
            let lasting = STEPS.len() as u8;
            let steps = |steps: &[Step]| {
                let steps: Vec<_> = steps.iter().flat_map(|&s| [s, s, (lasting, s.1, s.2)]).collect();
                message(&steps)
            };
            compare(&plugin, &twin, messages.iter().map(|message| steps(message)))?;
        });
        let Reset::Fresh { because } = plugin.strategy() else { panic!("{instruction} is rewound") };
        match because {
            Because::WritesTables(found) | Because::DropsSegments(found) => assert!(step.contains(found), "{found}"),
            Because::HoldsReferences => assert_eq!(instruction, "reference"),
            other => panic!("{instruction} is fresh for another reason: {other}"),
        }
    }
}

#[test]
fn generated_modules_cannot_tell_either() {
    let (mut rewound, mut fresh) = (0, 0);
    for seed in 0..generated::SEEDS {
        let Some(wat) = generated::module(seed) else { continue };
        let Ok(plugin) = load(&wat, NONE, b"") else { continue };
        match plugin.strategy() {
            Reset::Rewind { .. } => rewound += 1,
            Reset::Fresh { .. } => fresh += 1,
        }
        let compared = compare(&plugin, &twin(&wat), generated::messages(seed));
        assert!(compared.is_ok(), "seed {seed}: {compared:?}");
    }
    assert!(rewound >= 50 && fresh >= 10, "{rewound} modules were rewound and {fresh} were not: too few to mean much");
}

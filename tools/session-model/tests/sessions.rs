//! The properties hold in all that can happen, and the search finds each mistake that breaks one.

use parlo_session_model::{Broken, Mutant, Prefix, search};

/// IK and XX from the first datagram on, and around a call that stands.
#[test]
fn the_properties_hold_whatever_the_network_does() {
    for known in [true, false] {
        for (prefix, depth, mischief) in [
            (Prefix::Fresh, if known { 6 } else { 8 }, 2),
            (Prefix::Standing, 3, 2),
            (Prefix::Again, 3, 1),
            (Prefix::Second, 2, 2),
            (Prefix::LateInEpoch, 4, 1),
            (Prefix::Rekeying, 4, 1),
            (Prefix::Rekeying, 6, 0),
        ] {
            let begun = std::time::Instant::now();
            let report = search(known, prefix, None, depth, mischief);
            println!("known: {known}, {prefix:?}: {report:?} in {:?}", begun.elapsed());
            assert!(report.found.is_none(), "{:?}", report.found);
            assert!(report.states > 20 && report.standing > 0, "it comes far: {report:?}");
        }
    }
}

#[test]
fn each_mistake_is_found() {
    for (mutant, prefix, known, depth, broken) in [
        (Mutant::RingsBeforeProof, Prefix::Fresh, true, 4, Broken::ConfirmedAlone),
        (Mutant::CookieForAll, Prefix::Fresh, true, 4, Broken::StateBeforeProof),
        (Mutant::CookieForAll, Prefix::Fresh, false, 4, Broken::StateBeforeProof),
        (Mutant::ReplacesAtOnce, Prefix::Again, true, 2, Broken::Replaced),
        (Mutant::SpeaksWithOldKeys, Prefix::Second, true, 2, Broken::KeysDisagree),
        (Mutant::RestartsFromSeed, Prefix::Standing, true, 2, Broken::NumberTwice),
        (Mutant::RestartsFromSeed, Prefix::Standing, false, 2, Broken::NumberTwice),
        (Mutant::SeedsFromBefore, Prefix::Rekeying, true, 4, Broken::ThiefFollows),
        (Mutant::HidesAge, Prefix::Rekeying, true, 2, Broken::AgeUntold),
    ] {
        let report = search(known, prefix, Some(mutant), depth, 1);
        let found = report.found.as_ref().unwrap_or_else(|| panic!("{mutant:?} is not found: {report:?}"));
        println!("{mutant:?}: {:?} by {:?}", found.broken, found.steps);
        assert_eq!(found.broken, broken, "{mutant:?}: {found:?}");
    }
}

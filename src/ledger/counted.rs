//! What a counter says that no other has said already.

use super::sum;
use crate::model::{Changes, Counter, Flow};

/// How many of its packets nobody else counted; absent if it can't be known by how much it grew.
pub fn counted(counter: &'static Counter, flow: Flow, changes: &Changes) -> Option<u64> {
    let amount = changes.delta(counter)?;
    Some(match flow {
        Flow::LostBeyond { known, with, .. } => {
            let before = with.map_or(0, |with| changes.beyond(&[with], known));
            let all: Vec<&'static Counter> = with.into_iter().chain([counter]).collect();
            changes.beyond(&all, known).saturating_sub(before)
        }
        Flow::LostAsIn { counted, less, .. } => {
            let at = |(device, _)| {
                let all = changes.delta_at(counted, device);
                all.saturating_sub(changes.delta_at(less, device))
            };
            sum(changes.grown(counter).map(at))
        }
        Flow::LostUpTo { apart, .. } => {
            let others = apart.iter().filter_map(|other| counted(other, other.flow?, changes));
            amount.saturating_sub(sum(others))
        }
        _ => amount,
    })
}

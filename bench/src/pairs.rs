//! Two sides in turns, so that what the machine does besides falls on both.

use anyhow::Result;

/// Values of each run: one list for each figure.
#[derive(Debug, Default)]
pub(crate) struct Values {
    pub(crate) nabi: Vec<Vec<f64>>,
    pub(crate) peer: Vec<Vec<f64>>,
}

/// One of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Nabi,
    Peer,
}

/// Runs `take` for each side in turns, the first of each pair last in the next one. It is given the
/// pair's number, from which both sides draw the same load; 0 is a warm-up that does not count.
pub(crate) async fn run(
    pairs: usize,
    mut take: impl AsyncFnMut(Side, usize) -> Result<Vec<f64>>,
) -> Result<Values> {
    let mut values = Values::default();
    for pair in 0..=pairs {
        for side in order(pair) {
            let taken = take(side, pair).await?;
            if pair == 0 {
                continue;
            }
            let lists = if side == Side::Nabi { &mut values.nabi } else { &mut values.peer };
            lists.resize_with(taken.len(), Vec::new);
            lists.iter_mut().zip(taken).for_each(|(list, value)| list.push(value));
        }
    }
    Ok(values)
}

fn order(pair: usize) -> [Side; 2] {
    if pair.is_multiple_of(2) { [Side::Nabi, Side::Peer] } else { [Side::Peer, Side::Nabi] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_sides_get_the_same_pairs_in_turns_and_the_first_does_not_count() {
        let mut taken = Vec::new();
        let values = run(2, async |side, pair| {
            taken.push((side, pair));
            let value = if side == Side::Nabi { pair as f64 } else { 10.0 * pair as f64 };
            Ok(vec![value, -value])
        });
        let values = values.await.expect("no run fails");
        assert_eq!(values.nabi, [[1.0, 2.0], [-1.0, -2.0]]);
        assert_eq!(values.peer, [[10.0, 20.0], [-10.0, -20.0]]);
        use Side::{Nabi, Peer};
        assert_eq!(taken, [(Nabi, 0), (Peer, 0), (Peer, 1), (Nabi, 1), (Nabi, 2), (Peer, 2)]);
    }
}

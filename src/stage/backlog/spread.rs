//! The CPU that overflows is busy all the time: whether others could take part (RPS).

use super::{MAX_BACKLOG, PROCESSED, RPS_CPUS, RX_DROPPED};
use crate::model::{Change, Counter, Finding, Instance, Observed, Suggestion};
use crate::stage::softirq;

/// The CPU is busy all the time: a longer queue would fill as well. What helps is to let others take part.
pub fn spread(seen: &Observed, worst: u32, others: Vec<u32>, finding: &mut Finding) {
    let softirqs = share(seen, &softirq::SOFTIRQ, worst).unwrap_or(0.0);
    finding.why += &format!(", and it has no time left: {softirqs:.0} % of it go to softirqs");
    finding.refuse(MAX_BACKLOG.id, "a queue that never drains loses the same, only later");
    if others.is_empty() {
        finding.no_setting_helps = Some(
            "packets take the time of every CPU: make the work per packet cheaper (firewall rules, taps), or let less traffic come"
                .into(),
        );
        return;
    }
    finding.suggestions = masks(seen, &others);
    if finding.suggestions.is_empty() {
        finding.no_setting_helps = Some(
            "other CPUs could take more packets, but no device that lost packets here could give them any: RPS spreads flows, \
             and one flow stays on one CPU; or the device is in another network namespace"
                .into(),
        );
    }
}

/// RPS masks that let the `others` take part, for every queue of the devices that lost packets.
fn masks(seen: &Observed, others: &[u32]) -> Vec<Suggestion> {
    let lost = |instance: &Instance| {
        let mut devices = seen.changes.each(&RX_DROPPED);
        devices.any(|(device, change)| {
            device == instance && matches!(change, Change::Total { delta: Some(lost), .. } if lost > 0)
        })
    };
    let why = "lets the CPUs take part that spend less than half their time on packets; flows are spread by their hash";
    let all = || seen.settings.between("class/net/", "/rps_cpus");
    let queues =
        |device: &str| all().filter(|(middle, _)| middle.split_once('/').is_some_and(|d| d.0 == device)).count();
    let cpus = seen.changes.each(&PROCESSED).count();
    let mask = |(middle, from): (&str, &str)| {
        let (device, queue) = middle.split_once("/queues/")?;
        let to = with_cpus(from, others, true)?;
        // A device with a queue for each CPU spreads by itself.
        let spreads = queues(device) > 1 && queues(device) >= cpus;
        let wanted = to != from && !spreads && lost(&Instance::device(device));
        wanted.then(|| seen.suggest(&RPS_CPUS, Instance::queue(device, queue), from.into(), to, why))
    };
    all().filter_map(mask).collect()
}

/// A bitmap of CPUs as the kernel prints it (groups of 32 bits, the highest first; `%*pb` in lib/vsprintf.c), with these
/// CPUs in it, too, or without them. Absent if it is none, or has no place for them.
pub fn with_cpus(mask: &str, cpus: &[u32], wanted: bool) -> Option<String> {
    let groups: Vec<&str> = mask.split(',').collect();
    let mut words: Vec<u32> = groups.iter().map(|group| u32::from_str_radix(group, 16).ok()).collect::<Option<_>>()?;
    for cpu in cpus {
        let at = words.len().checked_sub(1 + *cpu as usize / 32)?;
        let bit = 1 << (cpu % 32);
        words[at] = if wanted { words[at] | bit } else { words[at] & !bit };
    }
    let print = |(word, group): (&u32, &&str)| format!("{word:0width$x}", width = group.len());
    let printed: Vec<String> = words.iter().zip(&groups).map(print).collect();
    // The kernel prints as many digits as there can be CPUs.
    printed.iter().zip(&groups).all(|(new, old)| new.len() == old.len()).then(|| printed.join(","))
}

/// How much of its time in the window a CPU spent in what `counter` counts in ticks of 10 ms, in %. Since boot unknown: a
/// sum over days does not tell how busy it was when packets were lost.
pub fn share(seen: &Observed, counter: &'static Counter, cpu: u32) -> Option<f64> {
    if seen.changes.since_boot {
        return None;
    }
    let is_it = |(instance, change): (&Instance, Change)| match (instance, change) {
        (Instance::Cpu { cpu: other }, Change::Total { delta, .. }) if *other == cpu => delta,
        _ => None,
    };
    let ticks = seen.changes.each(counter).find_map(is_it)?;
    // 100 ticks a second: so many of them are so many % of a second.
    // The kernel books a tick as a whole, so a busy CPU may show a few more than there were.
    Some((ticks as f64 / seen.changes.seconds.filter(|seconds| *seconds > 0.0)?).min(100.0))
}

#[cfg(test)]
mod tests {
    use super::with_cpus;

    #[test]
    fn masks_are_printed_as_the_kernel_prints_them() {
        assert_eq!(with_cpus("2", &[0], true).as_deref(), Some("3"));
        assert_eq!(with_cpus("00", &[7], true).as_deref(), Some("80"));
        assert_eq!(with_cpus("ff,00000000", &[0, 33], true).as_deref(), Some("ff,00000001"));
        assert_eq!(with_cpus("0,00000000", &[31, 32], true).as_deref(), Some("1,80000000"));
        assert_eq!(with_cpus("1,80000001", &[31, 32], false).as_deref(), Some("0,00000001"));
    }

    #[test]
    fn a_mask_without_a_place_for_a_cpu_is_left_alone() {
        assert_eq!(with_cpus("2", &[4], true), None);
        assert_eq!(with_cpus("f", &[32], true), None);
        assert_eq!(with_cpus("", &[0], true), None);
        assert_eq!(with_cpus("many", &[0], true), None);
    }
}

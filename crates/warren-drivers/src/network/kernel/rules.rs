//! What our rules are and whether they stand right, as texts of `iptables`.

use super::super::state::Rules;
use super::super::wish::Owner;
use std::fmt::Write as _;

/// A table with a chain of ours.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// The kernel's chain that asks ours.
    base: &'static str,
    /// The end of our chain's name.
    hook: &'static str,
    /// The chain after whose question ours comes, where it is there: what an operator forbids stays forbidden.
    after: Option<&'static str>,
    /// Verdicts that, given by the kernel's chain before ours is asked, would make ours idle.
    too_early: &'static [&'static str],
    /// Whether it is here that an interface is barred.
    bars: bool,
}

/// What our chains do: let the pool's own traffic through where Docker drops what it has not published, and keep its
/// source where Docker would hide it behind the machine's.
pub(super) const TABLES: &[Table] = &[
    Table {
        name: "filter",
        base: "FORWARD",
        hook: "FORWARD",
        after: Some("DOCKER-USER"),
        too_early: &["DROP", "REJECT"],
        bars: true,
    },
    Table {
        name: "nat",
        base: "POSTROUTING",
        hook: "POST",
        after: None,
        too_early: &["MASQUERADE", "SNAT"],
        bars: false,
    },
];

impl Table {
    fn chain(&self, owner: &Owner) -> String {
        owner.chain(self.hook)
    }

    /// The rules of our chain, as `iptables` lists them.
    fn rules(&self, owner: &Owner, barred: Option<&str>) -> Vec<String> {
        let (chain, pool) = (self.chain(owner), owner.pool.trunc());
        let bar = barred.filter(|_| self.bars);
        let bar = bar.map(|name| format!("{}{name}{DROPPED}", self.bar(owner)));
        bar.into_iter().chain([format!("-A {chain} -s {pool} -d {pool} -j ACCEPT")]).collect()
    }

    /// How the rule begins that bars an interface.
    fn bar(&self, owner: &Owner) -> String {
        format!("-A {} -s {} -i ", self.chain(owner), owner.pool.trunc())
    }
}

/// The end of a rule that lets nothing pass.
const DROPPED: &str = " -j DROP";

/// The interface that our rules bar, from `iptables -S`.
pub(super) fn barred<'a>(listed: &'a str, table: &Table, owner: &Owner) -> Option<&'a str> {
    let bar = table.bar(owner);
    listed.lines().find_map(|line| line.strip_prefix(&bar)?.strip_suffix(DROPPED))
}

/// How our rules stand in a table, from `iptables -S`, where they are to bar this interface.
pub(super) fn state(listed: &str, table: &Table, owner: &Owner, barred: Option<&str>) -> Rules {
    let chain = table.chain(owner);
    let jump = format!("-A {} -j {chain}", table.base);
    let made = listed.lines().any(|line| line == format!("-N {chain}"));
    let jumps = listed.lines().filter(|line| *line == jump).count();
    if !made && jumps == 0 {
        return Rules::Absent;
    }
    let ours = format!("-A {chain} ");
    let rules: Vec<&str> = listed.lines().filter(|line| line.starts_with(&ours)).collect();
    let before = base_rules(listed, table).take_while(|line| *line != jump);
    let idle = before.into_iter().any(|line| {
        let verdict = line.split_once(" -j ").and_then(|(_, rest)| rest.split(' ').next());
        verdict.is_some_and(|verdict| table.too_early.contains(&verdict))
    });
    if rules == table.rules(owner, barred) && jumps == 1 && !idle {
        Rules::Right
    } else {
        Rules::Wrong
    }
}

fn base_rules<'a>(listed: &'a str, table: &Table) -> impl Iterator<Item = &'a str> {
    let start = format!("-A {} ", table.base);
    listed.lines().filter(move |line| line.starts_with(&start))
}

/// What makes the table right, for `iptables-restore --noflush`: all of it or nothing.
pub(super) fn written(listed: &str, table: &Table, owner: &Owner, barred: Option<&str>) -> String {
    let chain = table.chain(owner);
    let mut text = format!("*{}\n:{chain} - [0:0]\n", table.name);
    for rule in table.rules(owner, barred) {
        let _ = writeln!(text, "{rule}");
    }
    text.push_str(&without_jumps(listed, table, owner));
    let jump = format!("-A {} -j {chain}", table.base);
    let others: Vec<&str> = base_rules(listed, table).filter(|line| *line != jump).collect();
    let after = table.after.map(|after| format!("-A {} -j {after}", table.base));
    let place = after.and_then(|after| others.iter().position(|line| *line == after));
    // Places are counted from 1, and this one is behind the one found.
    let place = place.map_or(1, |place| place + 2);
    let _ = writeln!(text, "-I {} {place} -j {chain}\nCOMMIT", table.base);
    text
}

/// What takes our rules out of a table.
pub(super) fn removed(listed: &str, table: &Table, owner: &Owner) -> String {
    let chain = table.chain(owner);
    if !listed.lines().any(|line| line == format!("-N {chain}")) {
        return String::new();
    }
    let jumps = without_jumps(listed, table, owner);
    format!("*{}\n{jumps}-F {chain}\n-X {chain}\nCOMMIT\n", table.name)
}

fn without_jumps(listed: &str, table: &Table, owner: &Owner) -> String {
    let jump = format!("{} -j {}", table.base, table.chain(owner));
    let found = listed.lines().filter(|line| line.strip_prefix("-A ") == Some(jump.as_str()));
    format!("-D {jump}\n").repeat(found.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner { tag: "0a1b2c3d".into(), pool: "10.210.0.0/16".parse().unwrap() }
    }

    const DOCKER: &str = "-P FORWARD DROP\n-N DOCKER\n-N DOCKER-USER\n\
        -A FORWARD -j DOCKER-USER\n-A FORWARD -j DOCKER-ISOLATION-STAGE-1\n\
        -A FORWARD -o docker0 -j DOCKER\n-A DOCKER-USER -j RETURN\n";

    #[test]
    fn ours_come_after_the_operator_s_and_before_docker_s() {
        let text = written(DOCKER, &TABLES[0], &owner(), None);
        assert_eq!(
            text,
            "*filter\n:WARREN-0a1b2c3d-FORWARD - [0:0]\n\
             -A WARREN-0a1b2c3d-FORWARD -s 10.210.0.0/16 -d 10.210.0.0/16 -j ACCEPT\n\
             -I FORWARD 2 -j WARREN-0a1b2c3d-FORWARD\nCOMMIT\n"
        );
        assert_eq!(state(DOCKER, &TABLES[0], &owner(), None), Rules::Absent);
    }

    #[test]
    fn what_others_put_before_ours_is_seen() {
        let ours = "-N WARREN-0a1b2c3d-POST\n\
            -A WARREN-0a1b2c3d-POST -s 10.210.0.0/16 -d 10.210.0.0/16 -j ACCEPT\n";
        let jump = "-A POSTROUTING -j WARREN-0a1b2c3d-POST\n";
        let docker = "-A POSTROUTING -s 10.210.3.0/24 ! -o br-1 -j MASQUERADE\n";
        let other = "-A POSTROUTING -j KUBE-POSTROUTING\n";
        let state = |parts: &[&str]| state(&parts.concat(), &TABLES[1], &owner(), None);
        assert_eq!(state(&[ours, other, jump, docker]), Rules::Right);
        assert_eq!(state(&[ours, docker, jump]), Rules::Wrong);
        assert_eq!(state(&[ours, jump, docker, jump]), Rules::Wrong, "twice");
        assert_eq!(state(&[ours, docker]), Rules::Wrong, "never asked");
        assert_eq!(state(&["-N WARREN-0a1b2c3d-POST\n", jump]), Rules::Wrong, "emptied");
        assert_eq!(state(&[docker]), Rules::Absent);
        let again = written(&[ours, docker, jump].concat(), &TABLES[1], &owner(), None);
        assert!(
            again.contains("-D POSTROUTING -j WARREN-0a1b2c3d-POST\n-I POSTROUTING 1 "),
            "{again}"
        );
        let gone = removed(&[ours, docker, jump].concat(), &TABLES[1], &owner());
        assert!(
            gone.ends_with("-F WARREN-0a1b2c3d-POST\n-X WARREN-0a1b2c3d-POST\nCOMMIT\n"),
            "{gone}"
        );
        assert_eq!(removed(docker, &TABLES[1], &owner()), "");
    }

    #[test]
    fn an_interface_is_barred_before_the_pool_is_let_through() {
        let text = written(DOCKER, &TABLES[0], &owner(), Some("eth0"));
        let bar = "-A WARREN-0a1b2c3d-FORWARD -s 10.210.0.0/16 -i eth0 -j DROP\n";
        let pass = "-A WARREN-0a1b2c3d-FORWARD -s 10.210.0.0/16 -d 10.210.0.0/16 -j ACCEPT\n";
        assert!(text.contains(&[bar, pass].concat()), "{text}");
        let made = "-N WARREN-0a1b2c3d-FORWARD\n-A FORWARD -j WARREN-0a1b2c3d-FORWARD\n";
        let listed = [made, bar, pass].concat();
        assert_eq!(barred(&listed, &TABLES[0], &owner()), Some("eth0"));
        let state = |listed: &str, barred| state(listed, &TABLES[0], &owner(), barred);
        assert_eq!(state(&listed, Some("eth0")), Rules::Right);
        assert_eq!(state(&listed, None), Rules::Wrong);
        assert_eq!(state(&[made, pass, bar].concat(), Some("eth0")), Rules::Wrong, "too late");
        // What an address may be is no question of its translation.
        assert!(!written("", &TABLES[1], &owner(), Some("eth0")).contains("eth0"));
    }
}

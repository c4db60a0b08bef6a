//! Makes a plan smaller while it still fails.

use crate::plan::{Connection, Conversation, Cut, Effects, End, Join, Plan, Talk};

/// The smallest plan found for which `fails` holds; it must hold for `plan`.
pub fn shrink(plan: Plan, mut fails: impl FnMut(&Plan) -> bool) -> Plan {
    let mut plan = plan;
    while let Some(smaller) = candidates(&plan).into_iter().find(&mut fails) {
        plan = smaller;
    }
    plan
}

/// Plans with one thing less, the boldest first.
fn candidates(plan: &Plan) -> Vec<Plan> {
    let mut all = Vec::new();
    for at in 0..plan.connections.len() {
        if plan.connections.len() > 1 {
            all.push(Plan {
                connections: vec![plan.connections[at].clone()],
                ..*plan
            });
            all.push(Plan {
                connections: without(&plan.connections, at),
                ..*plan
            });
        }
        for smaller in connections(&plan.connections[at]) {
            let mut next = plan.clone();
            next.connections[at] = smaller;
            all.push(next);
        }
    }
    all
}

fn connections(connection: &Connection) -> Vec<Connection> {
    let mut all = Vec::new();
    if connection.v6 {
        all.push(Connection {
            v6: false,
            ..connection.clone()
        });
    }
    for at in 0..connection.lives.len() {
        if connection.lives.len() > 1 {
            let mut lives = without(&connection.lives, at);
            lives[0].join = if at == 0 {
                Join::Handshake
            } else {
                lives[0].join
            };
            all.push(Connection {
                lives,
                ..*connection
            });
        }
        for smaller in conversations(&connection.lives[at], at as u32) {
            let mut next = connection.clone();
            next.lives[at] = smaller;
            all.push(next);
        }
    }
    all
}

fn conversations(life: &Conversation, at: u32) -> Vec<Conversation> {
    let with = |talk| Conversation {
        talk,
        ..life.clone()
    };
    let mut all: Vec<Conversation> = match &life.talk {
        Talk::Http1(units) => (0..units.len())
            .map(|at| with(Talk::Http1(without(units, at))))
            .collect(),
        Talk::Http2 {
            streams,
            server_first,
        } => {
            let fewer = |at| {
                with(Talk::Http2 {
                    streams: without(streams, at),
                    server_first: *server_first,
                })
            };
            (0..streams.len()).map(fewer).collect()
        }
    };
    all.extend(
        effects(&life.effects)
            .into_iter()
            .map(|effects| Conversation {
                effects,
                ..life.clone()
            }),
    );
    if life.join != Join::Handshake {
        all.push(Conversation {
            join: Join::Handshake,
            ..life.clone()
        });
    }
    if life.end != End::Open {
        all.push(Conversation {
            end: End::Open,
            ..life.clone()
        });
    }
    let plain = [1000 + at * 1_000_000, 5000 + at * 1_000_000];
    if life.isn != plain {
        all.push(Conversation {
            isn: plain,
            ..life.clone()
        });
    }
    all
}

fn effects(effects: &Effects) -> Vec<Effects> {
    let now = *effects;
    let none = Effects::NONE;
    let all = [
        none,
        Effects {
            cut: now.cut,
            ..none
        },
        Effects {
            cut: Cut::Large,
            ..now
        },
        Effects {
            cut: Cut::Mss,
            ..now
        },
        Effects { again: 0, ..now },
        Effects {
            reorder: false,
            ..now
        },
        Effects { acks: 0, ..now },
        Effects {
            fragments: 0,
            ..now
        },
        Effects {
            fin_with_data: false,
            ..now
        },
        Effects {
            form: none.form,
            ..now
        },
    ];
    // Only what is less: it must come to an end.
    all.into_iter()
        .filter(|other| *other != now && weight(other) < weight(&now))
        .collect()
}

fn weight(effects: &Effects) -> usize {
    let on = |yes: bool| usize::from(yes);
    let cut = [Cut::Large, Cut::Mss, Cut::Small, Cut::Tiny, Cut::Mixed]
        .iter()
        .position(|cut| *cut == effects.cut);
    cut.unwrap_or(0)
        + on(effects.again != 0)
        + on(effects.reorder)
        + on(effects.acks != 0)
        + on(effects.fragments != 0)
        + on(effects.fin_with_data)
        + on(effects.form != Effects::NONE.form)
}

fn without<T: Clone>(all: &[T], at: usize) -> Vec<T> {
    let mut rest = all.to_vec();
    rest.remove(at);
    rest
}

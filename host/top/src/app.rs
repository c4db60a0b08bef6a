//! What the table shows and what keys do to it: state, without a terminal. Time is an argument.

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::widgets::TableState;

use crate::ask::Answer;
use crate::table::{self, Row};
use crate::{Column, Group, Model, Order};

/// A window that is late by more than this is not called live.
const LATE: Duration = Duration::from_secs(3);

/// What is over the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Over {
    #[default]
    Nothing,
    Help,
    /// The row with this key, scrolled by so many lines.
    Detail(String, u16),
}

/// What a key asks of who runs the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Nothing,
    /// Ask the agent at once.
    Ask,
    Quit,
}

/// Why there is nothing newer.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) why: String,
    since: Instant,
    next: Instant,
}

/// The state of the table.
pub struct App {
    /// Rows, order and filter.
    pub(crate) order: Order,
    /// Sinks are shown in place of targets.
    pub(crate) sinks: bool,
    pub(crate) interval: Duration,
    live: Option<Model>,
    /// What was live when the table was paused, and since when.
    paused: Option<(Model, Instant)>,
    received: Option<Instant>,
    pub(crate) trouble: Option<Trouble>,
    /// The filter is being typed.
    pub(crate) typing: bool,
    pub(crate) over: Over,
    pub(crate) table: TableState,
    /// Key of the selected row: it stays selected where it goes.
    selected: Option<String>,
    /// Rows that the screen has.
    pub(crate) page: usize,
}

impl App {
    /// With nothing to show yet.
    pub fn new(order: Order, interval: Duration) -> Self {
        Self {
            order,
            sinks: false,
            interval,
            live: None,
            paused: None,
            received: None,
            trouble: None,
            typing: false,
            over: Over::Nothing,
            table: TableState::new(),
            selected: None,
            page: 10,
        }
    }

    /// What the agent said, or that it said nothing.
    pub(crate) fn take(&mut self, answer: Answer, now: Instant) {
        match answer.said {
            Ok(seen) => {
                (self.received, self.trouble) = (Some(now), None);
                match &mut self.live {
                    Some(model) => model.take(*seen),
                    None => self.live = Some(Model::new(*seen)),
                }
            }
            Err(why) => {
                let since = self.trouble.as_ref().map_or(now, |trouble| trouble.since);
                let next = now + answer.pause;
                self.trouble = Some(Trouble { why, since, next });
            }
        }
    }

    /// What is shown; none before the first answer.
    pub(crate) fn model(&self) -> Option<&Model> {
        self.paused
            .as_ref()
            .map(|(model, _)| model)
            .or(self.live.as_ref())
    }

    /// Whether what is shown is what there is now.
    pub(crate) fn is_live(&self, now: Instant) -> bool {
        self.paused.is_none()
            && self.trouble.is_none()
            && self.age(now).is_some_and(|age| age < self.interval + LATE)
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// Of what is shown.
    pub(crate) fn age(&self, now: Instant) -> Option<Duration> {
        let paused = self.paused.as_ref().map(|(_, received)| *received);
        let received = paused.or(self.received)?;
        Some(now.saturating_duration_since(received))
    }

    /// The filtered and sorted rows, the selected one of them, and how many there are without a filter.
    pub(crate) fn rows(&mut self) -> (Vec<Row>, usize) {
        let (rows, all) = match self.model() {
            Some(model) => table::rows(model, &self.order),
            None => (Vec::new(), 0),
        };
        let at = self
            .selected
            .as_ref()
            .and_then(|key| rows.iter().position(|row| row.key == *key));
        let at = at.or(self
            .table
            .selected()
            .map(|at| at.min(rows.len().saturating_sub(1))));
        let at = at.filter(|_| !rows.is_empty());
        self.table.select(at);
        self.selected = at.map(|at| rows[at].key.clone());
        (rows, all)
    }

    pub(crate) fn key(&mut self, key: KeyEvent) -> Wish {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return Wish::Quit,
            _ if self.typing => self.typed(key.code, control),
            _ if self.over != Over::Nothing => self.key_over(key.code),
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Char('R') => return Wish::Ask,
            KeyCode::Char(' ' | 'p') => self.pause(),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.over = Over::Help,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => self.order.filter.clear(),
            KeyCode::Enter => self.open(),
            KeyCode::Char(digit @ '1'..='4') => {
                self.group(Group::ALL[digit as usize - '1' as usize])
            }
            KeyCode::Char('5') => self.sinks = true,
            KeyCode::Char('g') | KeyCode::Tab => self.next_group(),
            KeyCode::Char('<' | ',') | KeyCode::Left => self.sort_beside(Column::ALL.len() - 1),
            KeyCode::Char('>' | '.' | 's') | KeyCode::Right => self.sort_beside(1),
            KeyCode::Char('r') => self.order.falling = !self.order.falling,
            code => self.key_move(code, control),
        }
        Wish::Nothing
    }

    fn key_move(&mut self, code: KeyCode, control: bool) {
        let page = self.page.max(1) as isize;
        match code {
            KeyCode::Char('n') => self.order.sort_by(Column::Name),
            KeyCode::Char('e') => self.order.sort_by(Column::Errors),
            KeyCode::Char('l') => self.order.sort_by(Column::P99),
            KeyCode::Char('t') => self.order.sort_by(Column::Rate),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Char('f') if control => self.step(page),
            KeyCode::Char('b') if control => self.step(-page),
            KeyCode::PageDown => self.step(page),
            KeyCode::PageUp => self.step(-page),
            KeyCode::Home => self.step(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX),
            _ => {}
        }
    }

    fn typed(&mut self, code: KeyCode, control: bool) {
        match code {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.order.filter.clear();
                self.typing = false;
            }
            KeyCode::Backspace => drop(self.order.filter.pop()),
            KeyCode::Char('u') if control => self.order.filter.clear(),
            KeyCode::Char(c) if !control => self.order.filter.push(c),
            KeyCode::Down => self.step(1),
            KeyCode::Up => self.step(-1),
            _ => {}
        }
    }

    fn key_over(&mut self, code: KeyCode) {
        match (&mut self.over, code) {
            (Over::Detail(_, line), KeyCode::Down | KeyCode::Char('j')) => {
                *line = line.saturating_add(1)
            }
            (Over::Detail(_, line), KeyCode::Up | KeyCode::Char('k')) => {
                *line = line.saturating_sub(1)
            }
            (Over::Detail(_, line), KeyCode::PageDown) => *line = line.saturating_add(10),
            (Over::Detail(_, line), KeyCode::PageUp) => *line = line.saturating_sub(10),
            _ => self.over = Over::Nothing,
        }
    }

    fn pause(&mut self) {
        self.paused = match (self.paused.take(), &self.live, self.received) {
            (None, Some(live), Some(received)) => Some((live.clone(), received)),
            _ => None,
        };
    }

    fn open(&mut self) {
        if let (false, Some(key)) = (self.sinks, &self.selected) {
            self.over = Over::Detail(key.clone(), 0);
        }
    }

    fn group(&mut self, group: Group) {
        (self.sinks, self.order.group, self.selected) = (false, group, None);
        self.table = TableState::new();
    }

    fn next_group(&mut self) {
        let at = Group::ALL
            .iter()
            .position(|&group| group == self.order.group);
        match at.map(|at| at + 1) {
            _ if self.sinks => self.group(Group::ALL[0]),
            Some(next) if next < Group::ALL.len() => self.group(Group::ALL[next]),
            _ => self.sinks = true,
        }
    }

    fn sort_beside(&mut self, step: usize) {
        let at = Column::ALL
            .iter()
            .position(|&column| column == self.order.sort);
        let next = (at.unwrap_or_default() + step) % Column::ALL.len();
        self.order.sort_by(Column::ALL[next]);
    }

    /// The first step selects the first row.
    fn step(&mut self, by: isize) {
        let rows = self.rows().0;
        let last = rows.len().saturating_sub(1);
        let at = match self.table.selected() {
            Some(at) => at.saturating_add_signed(by).min(last),
            None if by == isize::MAX => last,
            None => 0,
        };
        self.selected = rows.get(at).map(|row| row.key.clone());
        self.table.select(self.selected.as_ref().map(|_| at));
    }
}

impl Trouble {
    /// Since the first failure.
    pub(crate) fn lasts(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Until the agent is asked again.
    pub(crate) fn pause(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyEvent;

    use super::*;
    use crate::testing::{answer, target};

    fn said(second: u64) -> Answer {
        let targets = vec![
            target("cart").requests(100 * second),
            target("pay").requests(10 * second),
            target("search").requests(second),
        ];
        Answer {
            said: Ok(Box::new(answer(second, targets))),
            pause: Duration::from_secs(2),
        }
    }

    fn app(now: Instant) -> App {
        let mut app = App::new(Order::default(), Duration::from_secs(2));
        app.take(said(10), now);
        app.take(said(12), now);
        app
    }

    fn press(app: &mut App, keys: &str) -> Wish {
        let press = |key| app.key(KeyEvent::from(KeyCode::Char(key)));
        keys.chars().map(press).last().unwrap()
    }

    fn names(app: &mut App) -> Vec<String> {
        app.rows().0.into_iter().map(|row| row.name).collect()
    }

    fn selected(app: &mut App) -> Option<String> {
        let rows = app.rows().0;
        app.table.selected().map(|at| rows[at].name.clone())
    }

    #[test]
    fn q_and_control_c_quit_also_where_something_is_open() {
        let mut app = app(Instant::now());
        assert_eq!(press(&mut app, "q"), Wish::Quit);
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        for keys in ["?", "/"] {
            press(&mut app, keys);
            assert_eq!(press(&mut app, "x"), Wish::Nothing);
            assert_eq!(app.key(control_c), Wish::Quit);
        }
    }

    #[test]
    fn a_filter_is_typed_kept_and_cleared() {
        let mut app = app(Instant::now());
        press(&mut app, "/paq");
        app.key(KeyCode::Backspace.into());
        assert_eq!(names(&mut app), ["pay"]);
        app.key(KeyCode::Enter.into());
        assert_eq!((app.typing, names(&mut app).len()), (false, 1));
        app.key(KeyCode::Esc.into());
        assert_eq!(names(&mut app).len(), 3);
    }

    #[test]
    fn the_selected_row_stays_selected_where_it_goes() {
        let mut app = app(Instant::now());
        press(&mut app, "jj");
        assert_eq!(selected(&mut app).as_deref(), Some("pay"));
        press(&mut app, "r");
        press(&mut app, "n");
        assert_eq!(names(&mut app), ["cart", "pay", "search"]);
        assert_eq!(selected(&mut app).as_deref(), Some("pay"));
        press(&mut app, "jjjjj");
        assert_eq!(selected(&mut app).as_deref(), Some("search"), "no further");
        press(&mut app, "/cart");
        assert_eq!(
            selected(&mut app).as_deref(),
            Some("cart"),
            "where it is gone, a neighbour"
        );
    }

    #[test]
    fn columns_are_chosen_by_keys() {
        let mut app = app(Instant::now());
        press(&mut app, ">");
        assert_eq!((app.order.sort, app.order.falling), (Column::Errors, true));
        press(&mut app, "<<");
        assert_eq!((app.order.sort, app.order.falling), (Column::Name, false));
        press(&mut app, "<");
        assert_eq!(app.order.sort, Column::Status);
        press(&mut app, "l");
        assert_eq!(app.order.sort, Column::P99);
    }

    #[test]
    fn groups_go_round_and_end_with_the_sinks() {
        let mut app = app(Instant::now());
        press(&mut app, "3");
        assert_eq!(names(&mut app)[0], "cart-0");
        press(&mut app, "gg");
        assert!(app.sinks);
        press(&mut app, "g");
        assert_eq!((app.sinks, app.order.group), (false, Group::Services));
    }

    #[test]
    fn a_paused_table_stands_still_and_says_its_age() {
        let now = Instant::now();
        let mut app = app(now);
        let later = now + Duration::from_secs(30);
        press(&mut app, "p");
        app.take(said(42), later);
        let window = |app: &App| app.model().unwrap().seen.snapshot.window.sequence;
        assert_eq!((window(&app), app.is_live(later)), (12, false));
        assert_eq!(app.age(later), Some(Duration::from_secs(30)));
        press(&mut app, "p");
        assert_eq!((window(&app), app.is_live(later)), (42, true));
    }

    #[test]
    fn without_an_answer_nothing_is_live() {
        let now = Instant::now();
        let mut app = app(now);
        assert!(app.is_live(now));
        let later = now + Duration::from_secs(7);
        assert!(!app.is_live(later), "the answer is late");
        let gone = |app: &mut App, at| {
            let said = Err("no agent answers".to_owned());
            let pause = Duration::from_secs(4);
            app.take(Answer { said, pause }, at);
        };
        gone(&mut app, now + Duration::from_secs(2));
        gone(&mut app, now + Duration::from_secs(5));
        let trouble = app.trouble.clone().unwrap();
        assert_eq!(trouble.lasts(later), Duration::from_secs(5));
        assert_eq!(trouble.pause(later), Duration::from_secs(2));
        assert_eq!(app.age(later), Some(Duration::from_secs(7)));
        app.take(said(20), later);
        assert!(app.is_live(later) && app.trouble.is_none());
    }
}

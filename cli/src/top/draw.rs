//! Draws the screen.
//!
//! ```text
//!   title     socket, how many connections, how the router is
//!   rates     packets and new connections a second, a curve
//!   groups    connections by protocol and state                     given up on low terminals
//!   talkers   the sources that have most                            given up on low terminals
//!   list      connections in order, one of them selected
//!   detail    both tuples of that one; what NAT changed stands out  given up last
//!   keys      what the keys do, a question, or the filter
//! ```
//!
//! Colours only underline what words or signs say as well, so that nothing is lost without them.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};
use uct_pipeline::control::flat::Flat;
use uct_pipeline::control::message::{Summed, Talker};

use super::screen::{Flow, Link, Mode, Screen, question};
use super::words::{End, ends, protocol, seconds, short, state, sum};

/// Whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// There are.
    Coloured,
    /// `NO_COLOR`: bold, underlined and reversed say it all.
    Plain,
}

impl Paint {
    fn style(self, color: Color, modifier: Modifier) -> Style {
        let style = Style::new().add_modifier(modifier);
        if self == Paint::Coloured { style.fg(color) } else { style }
    }

    fn heading(self) -> Style {
        self.style(Color::Cyan, Modifier::BOLD)
    }

    fn dim(self) -> Style {
        self.style(Color::DarkGray, Modifier::DIM)
    }

    fn warning(self) -> Style {
        self.style(Color::Red, Modifier::BOLD)
    }

    /// What source NAT changed.
    fn source(self) -> Style {
        self.style(Color::Yellow, Modifier::BOLD | Modifier::UNDERLINED)
    }

    /// What destination NAT changed.
    fn destination(self) -> Style {
        self.style(Color::Magenta, Modifier::BOLD | Modifier::UNDERLINED)
    }
}

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, screen: &mut Screen, paint: Paint) {
    let area = frame.area();
    if area.height < 4 || area.width < 20 {
        frame.render_widget(Paragraph::new("too small"), area);
        return;
    }
    let (groups, talkers) = match area.height {
        0..14 => (0, 0),
        14..20 => (3, 0),
        20..40 => (3, 3),
        _ => (5, 8),
    };
    let detail = if area.height >= 9 { 3 } else { 0 };
    let [title, rates, by_kind, by_source, list, both, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(groups),
        Constraint::Length(talkers),
        Constraint::Min(1),
        Constraint::Length(detail),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_title(frame, title, screen, paint);
    draw_rates(frame, rates, screen, paint);
    if let Some(survey) = &screen.survey {
        draw_groups(frame, by_kind, &survey.summed, paint);
        draw_talkers(frame, by_source, survey.summed.talkers.as_deref().unwrap_or_default(), paint);
    }
    draw_list(frame, list, screen, paint);
    if let Some(flat) = screen.current() {
        frame.render_widget(Paragraph::new(describe(flat, paint)), both);
    }
    draw_keys(frame, keys, screen, paint);
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, screen: &Screen, paint: Paint) {
    let mut spans = vec![Span::styled("uct top", paint.heading()), Span::raw(format!("  {}  ", screen.path))];
    match &screen.link {
        Link::Waiting => spans.push(Span::raw("waiting for the router")),
        Link::Away(_) => spans.push(Span::styled("the router is away, this is old", paint.warning())),
        Link::There if screen.flow == Flow::Paused => spans.push(Span::styled("paused", paint.warning())),
        Link::There => {}
    }
    let right = screen.survey.as_ref().map_or(String::new(), |s| {
        let (total, matched) = (s.summed.total.unwrap_or(0), s.summed.matched.unwrap_or(0));
        let of = if matched == total { String::new() } else { format!("{matched} of ") };
        format!("{of}{total} connections, at most {}", s.summed.max.unwrap_or(0))
    });
    both_ends(frame, area, Line::from(spans), right);
}

/// Something at the left, and at the right what still fits.
fn both_ends(frame: &mut Frame<'_>, area: Rect, left: Line<'_>, right: String) {
    let fits = left.width() + 1 + right.chars().count() <= usize::from(area.width);
    frame.render_widget(Paragraph::new(left), area);
    if fits {
        frame.render_widget(Paragraph::new(right).right_aligned(), area);
    }
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, screen: &Screen, paint: Paint) {
    let number = |n: Option<u64>| n.map_or("-".to_owned(), short);
    let rates = screen.rates;
    let mut spans = Vec::new();
    let shown = [
        ("packets/s ", rates.and_then(|r| r.packets)),
        ("   new/s ", rates.map(|r| r.new)),
        ("   invalid/s ", rates.map(|r| r.invalid)),
    ];
    for (name, n) in shown {
        spans.push(Span::styled(name, paint.dim()));
        spans.push(Span::styled(format!("{:<5}", number(n)), Style::new().add_modifier(Modifier::BOLD)));
    }
    let left = Line::from(spans);
    let room = usize::from(area.width).saturating_sub(left.width() + 2);
    let curve = curve(screen.curve.iter().rev().take(room).rev().copied());
    both_ends(frame, area, left, curve);
}

/// Small bars, the highest as high as a line.
fn curve(values: impl Iterator<Item = u64> + Clone) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = u128::from(values.clone().max().unwrap_or(0).max(1));
    values.map(|v| BARS[usize::try_from(u128::from(v) * 7 / most).unwrap_or(0)]).collect()
}

/// A protocol, its connections, and how many of them are in which state.
type Kind = (String, u64, Vec<(String, u64)>);

fn draw_groups(frame: &mut Frame<'_>, area: Rect, summed: &Summed, paint: Paint) {
    let mut protocols: Vec<Kind> = Vec::new();
    for group in summed.groups.iter().flatten() {
        let name = match group.protocol.as_deref() {
            Some("unknown") | None => group.protocol_number.unwrap_or(0).to_string(),
            Some(name) => name.to_owned(),
        };
        let count = group.count.unwrap_or(0);
        let state = (group.state.as_deref().unwrap_or("-").to_owned(), count);
        match protocols.iter_mut().find(|p| p.0 == name) {
            Some(p) => {
                p.1 += count;
                p.2.push(state);
            }
            None => protocols.push((name, count, vec![state])),
        }
    }
    protocols.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let height = usize::from(area.height);
    if protocols.len() > height && height > 0 {
        let rest = protocols.split_off(height - 1);
        let sum = rest.iter().map(|p| p.1).sum();
        protocols.push(("others".to_owned(), sum, rest.into_iter().map(|p| (p.0, p.1)).collect()));
    }
    let lines = protocols.iter_mut().map(|(name, count, states)| {
        states.sort_by_key(|s| std::cmp::Reverse(s.1));
        let mut spans =
            vec![Span::styled(format!("{name:<8}"), paint.heading()), Span::raw(format!("{:>6}  ", short(*count)))];
        for (state, n) in states {
            spans.push(Span::styled(format!(" {state} "), paint.dim()));
            spans.push(Span::raw(short(*n)));
        }
        Line::from(spans)
    });
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()), area);
}

fn draw_talkers(frame: &mut Frame<'_>, area: Rect, talkers: &[Talker], paint: Paint) {
    const WIDTH: u16 = 39;
    if area.height < 2 || talkers.is_empty() {
        return;
    }
    let counted = talkers.iter().any(|t| t.bytes.is_some());
    let title = if counted { "Top talkers, by bytes" } else { "Top talkers, by connections" };
    let mut lines = vec![Line::styled(title, paint.heading())];
    let columns = usize::from((area.width / WIDTH).max(1));
    let rows = usize::from(area.height - 1);
    for row in 0..rows {
        let mut text = String::new();
        for talker in (0..columns).filter_map(|c| talkers.get(c * rows + row)) {
            let addr = talker.addr.map_or(String::new(), |addr| End { addr, port: None }.fitting(18));
            let bytes = talker.bytes.map_or(String::new(), |b| format!(" {:>5}B", short(b)));
            let one = format!("{addr:<18} {:>5} conns{bytes}", short(talker.count.unwrap_or(0)));
            text.push_str(&format!("{one:<width$}", width = usize::from(WIDTH)));
        }
        lines.push(Line::raw(text));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, screen: &mut Screen, paint: Paint) {
    screen.page = usize::from(area.height.saturating_sub(1)).max(1);
    let (order, descending) = screen.order();
    if screen.rows().is_empty() {
        let text = match (&screen.survey, &screen.link) {
            (Some(s), _) if s.summed.total == Some(0) => "The table is empty.".to_owned(),
            (Some(_), _) => "No connection is like this.".to_owned(),
            (None, Link::Away(why)) => format!("{why}; trying again."),
            (None, _) => String::new(),
        };
        let line = area.height / 2;
        let area = Rect { y: area.y + line, height: area.height - line, ..area };
        frame.render_widget(Paragraph::new(text).centered().style(paint.dim()), area);
        return;
    }
    let columns = columns(area.width, order);
    let fixed: u16 = columns.iter().map(|c| c.width().unwrap_or(0) + 1).sum();
    let end = area.width.saturating_sub(fixed.saturating_sub(1)) / 2;
    let arrow = if descending { "▼" } else { "▲" };
    let header = Row::new(columns.iter().map(|column| {
        let name = format!("{}{}", column.name(), if column.order() == order { arrow } else { "" });
        match column.width() {
            Some(width) if column.is_number() => Cell::from(format!("{name:>width$}", width = usize::from(width))),
            _ => Cell::from(name),
        }
    }))
    .style(paint.heading().add_modifier(Modifier::REVERSED));
    let first = screen.selected.saturating_sub(screen.page - 1);
    let old = matches!(screen.link, Link::Away(_));
    let rows = screen.rows().iter().skip(first).take(screen.page).map(|flat| {
        let cells = columns.iter().map(|column| column.cell(flat, usize::from(end), paint));
        Row::new(cells).style(if old { paint.dim() } else { Style::new() })
    });
    let widths = columns.iter().map(|c| Constraint::Length(c.width().unwrap_or(end)));
    let table = Table::new(rows, widths)
        .header(header)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(Some(screen.selected - first));
    frame.render_stateful_widget(table, area, &mut state);
}

/// A column of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Protocol,
    State,
    Source,
    Destination,
    Left,
    Packets,
    Bytes,
}

/// The columns for which there is room: the ends come first.
fn columns(width: u16, order: &str) -> Vec<Column> {
    use Column::{Bytes, Destination, Left, Packets, Protocol, Source, State};
    match width {
        0..60 => vec![Protocol, Source, Destination],
        60..92 if order == "packets" => vec![Protocol, State, Source, Destination, Left, Packets],
        60..92 => vec![Protocol, State, Source, Destination, Left, Bytes],
        _ => vec![Protocol, State, Source, Destination, Left, Packets, Bytes],
    }
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Column::Protocol => "PROTO",
            Column::State => "STATE",
            Column::Source => "SOURCE",
            Column::Destination => "DESTINATION",
            Column::Left => "LEFT",
            Column::Packets => "PKTS",
            Column::Bytes => "BYTES",
        }
    }

    /// The order that goes by it.
    fn order(self) -> &'static str {
        match self {
            Column::Protocol | Column::State => "",
            Column::Source => "source",
            Column::Destination => "destination",
            Column::Left => "timeout",
            Column::Packets => "packets",
            Column::Bytes => "bytes",
        }
    }

    /// How wide it is; the ends share what is left.
    fn width(self) -> Option<u16> {
        match self {
            Column::Protocol => Some(7),
            Column::State => Some(11),
            Column::Source | Column::Destination => None,
            Column::Left | Column::Packets | Column::Bytes => Some(6),
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Column::Left | Column::Packets | Column::Bytes)
    }

    fn cell(self, flat: &Flat, end: usize, paint: Paint) -> Cell<'static> {
        let [src, dst, reply_src, reply_dst] = ends(flat);
        let shown = |end_of: &End, was: &End, style: Style| {
            Cell::from(end_of.fitting(end)).style(if end_of == was { Style::new() } else { style })
        };
        let count = |of: [Option<u64>; 2]| Cell::from(format!("{:>6}", sum(of).map_or("-".to_owned(), short)));
        match self {
            Column::Protocol => Cell::from(protocol(flat)),
            Column::State => Cell::from(state(flat).to_owned()),
            Column::Source => shown(&src, &reply_dst, paint.source()),
            Column::Destination => shown(&dst, &reply_src, paint.destination()),
            Column::Left => Cell::from(format!("{:>6}", seconds(flat.timeout))),
            Column::Packets => count([flat.orig_packets, flat.reply_packets]),
            Column::Bytes => count([flat.orig_bytes, flat.reply_bytes]),
        }
    }
}

/// A connection: what it is, and both tuples.
fn describe(flat: &Flat, paint: Paint) -> Vec<Line<'static>> {
    let [src, dst, reply_src, reply_dst] = ends(flat);
    let mut about = format!("#{} {} {}", flat.id, protocol(flat), state(flat));
    if let (Some(kind), Some(code), Some(id)) = (flat.orig_type, flat.orig_code, flat.orig_id) {
        about.push_str(&format!(" type {kind} code {code} id {id}"));
    }
    for flag in flat.status.iter().filter(|f| **f != state(flat)) {
        about.push_str(&format!(" [{flag}]"));
    }
    let (snat, dnat) = (src != reply_dst, dst != reply_src);
    let mut head = vec![Span::styled(about, Style::new().add_modifier(Modifier::BOLD))];
    for (name, _, style) in [("SNAT", snat, paint.source()), ("DNAT", dnat, paint.destination())].iter().filter(|n| n.1)
    {
        head.extend([Span::raw(" "), Span::styled(*name, *style)]);
    }
    let mut about = format!("  {} left, mark {}", seconds(flat.timeout), flat.mark);
    for (name, zone) in [("zone", flat.zone), ("orig-zone", flat.orig_zone), ("reply-zone", flat.reply_zone)] {
        if let Some(zone) = zone {
            about.push_str(&format!(", {name} {zone}"));
        }
    }
    if let Some(helper) = &flat.helper {
        about.push_str(&format!(", helper {helper}"));
    }
    let counts = |packets: Option<u64>, bytes: Option<u64>| match (packets, bytes) {
        (Some(p), Some(b)) => format!("  {} packets {}B", short(p), short(b)),
        _ => String::new(),
    };
    let tuple = |name: &'static str, ends: [(&End, &End, Style); 2], rest: String| {
        let mut spans = vec![Span::styled(name, paint.heading())];
        for (n, (end, other, style)) in ends.into_iter().enumerate() {
            if n == 1 {
                spans.push(Span::raw(" → "));
            }
            let (is, was) = (end.parts(), other.parts());
            for (part, before) in is.into_iter().zip(was) {
                let changed = part != before;
                spans.push(Span::styled(part, if changed { style } else { Style::new() }));
            }
        }
        spans.push(Span::styled(rest, paint.dim()));
        Line::from(spans)
    };
    head.push(Span::raw(about));
    let (s, d) = (paint.source(), paint.destination());
    vec![
        Line::from(head),
        tuple("original ", [(&src, &reply_dst, s), (&dst, &reply_src, d)], counts(flat.orig_packets, flat.orig_bytes)),
        tuple(
            "reply    ",
            [(&reply_src, &dst, d), (&reply_dst, &src, s)],
            counts(flat.reply_packets, flat.reply_bytes),
        ),
    ]
}

fn draw_keys(frame: &mut Frame<'_>, area: Rect, screen: &Screen, paint: Paint) {
    let key = |key: &'static str, what: &str| {
        [Span::styled(key, Style::new().add_modifier(Modifier::BOLD)), Span::styled(format!(" {what}  "), paint.dim())]
    };
    let line = match (&screen.mode, &screen.said, &screen.link) {
        (Mode::Ask(flat), ..) => Line::styled(question(flat), paint.warning()),
        (Mode::Type { .. }, ..) => {
            let mut spans =
                vec![Span::styled("filter: ", paint.heading()), Span::raw(screen.text.clone()), Span::raw("▏")];
            match &screen.wrong {
                Some(why) => spans.push(Span::styled(format!("  {why}"), paint.warning())),
                None => {
                    spans.extend([Span::raw("  ")].into_iter().chain(key("Enter", "keep")).chain(key("Esc", "give up")))
                }
            }
            Line::from(spans)
        }
        (_, Some(said), _) => Line::styled(said.clone(), paint.heading()),
        (_, _, Link::Away(why)) if screen.survey.is_some() => {
            Line::styled(format!("{why}; trying again."), paint.warning())
        }
        _ => {
            let (order, descending) = screen.order();
            let order = format!("sort: {order}{}", if descending { "▼" } else { "▲" });
            let filter = if screen.text.is_empty() { "filter".to_owned() } else { format!("filter: {}", screen.text) };
            let pause = if screen.flow == Flow::Paused { "go on" } else { "pause" };
            let all = [
                key("↑↓", "select"),
                key("/", &filter),
                key("s", &order),
                key("r", "reverse"),
                key("d", "delete"),
                key("p", pause),
                key("q", "quit"),
            ];
            Line::from(all.into_iter().flatten().collect::<Vec<_>>())
        }
    };
    frame.render_widget(Paragraph::new(line), area);
}

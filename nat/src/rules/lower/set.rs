//! Sets and maps: their types, their elements, and keys that overlap.

use super::value::Side;
use super::{DataKind, Lowering, SetModel, TableKey};
use crate::rules::ast::*;
use crate::rules::error::{Fault, Result, refuse};
use crate::rules::fields::{CtKey, Selector};
use crate::rules::program::Data;
use crate::rules::set::{MAX_FIELDS, SetKey};
use crate::rules::source::Span;
use crate::rules::types::{DataType, Form, Interval, interval};

/// Comparisons between keys of a concatenation that are worth making; a ruleset of any sense needs far fewer.
const MAX_COMPARED: usize = 50_000_000;
/// Nesting of sets in variables; the parser bounds it too.
const MAX_DEPTH: u32 = 64;

impl Lowering {
    /// Declares a named set or map; a second declaration must agree with the first.
    pub(super) fn declare_set(&mut self, table: &TableKey, set: &Set) -> Result<u32> {
        let Some(key) = &set.key else { return refuse(set.name.span, "the type of this set's elements is missing") };
        let key = self.types_of(key)?;
        if key.len() > MAX_FIELDS {
            return refuse(set.name.span, format!("a concatenation has at most {MAX_FIELDS} fields here"));
        }
        let data = match &set.data {
            None => DataKind::None,
            Some(DataSpec::Verdict) => DataKind::Verdict,
            Some(DataSpec::Type(spec)) => DataKind::Values { types: self.types_of(spec)?, intervals: false },
            Some(DataSpec::Interval(spec)) => DataKind::Values { types: self.types_of(spec)?, intervals: true },
        };
        if matches!(&data, DataKind::Values { types, intervals: true } if types.len() > 1) {
            return refuse(set.name.span, "intervals of concatenated values are not supported");
        }
        if set.auto_merge && set.map {
            return refuse(set.name.span, "the keys of a map cannot be merged");
        }
        if let Some(&at) = self.tables.get(table).and_then(|t| t.sets.get(&set.name.node)) {
            let known = &self.sets[at as usize];
            if known.key != key || known.data != data || known.interval != set.interval {
                return refuse(set.name.span, format!("'{}' exists already with another type", set.name.node));
            }
            return Ok(at);
        }
        let at = self.sets.len() as u32;
        let merge = set.auto_merge;
        self.sets.push(SetModel {
            key,
            data,
            interval: set.interval,
            merge,
            size: set.size.unwrap_or(u64::MAX),
            elements: Vec::new(),
            values: Vec::new(),
            otherwise: None,
        });
        if let Some(table) = self.tables.get_mut(table) {
            table.sets.insert(set.name.node.clone(), at);
        }
        Ok(at)
    }

    fn types_of(&self, spec: &TypeSpec) -> Result<Vec<DataType>> {
        match spec {
            TypeSpec::Named(names) => names
                .iter()
                .map(|name| {
                    DataType::named(&name.node)
                        .ok_or_else(|| Fault::new(name.span, format!("type '{}' is not supported", name.node)))
                })
                .collect(),
            TypeSpec::Of(expr) => {
                let parts = match &expr.node {
                    ExprKind::Concat(parts) => parts.as_slice(),
                    _ => std::slice::from_ref(expr),
                };
                parts
                    .iter()
                    .map(|part| match &part.node {
                        ExprKind::Selector(Selector::Ct(CtKey::ProtoSrc | CtKey::ProtoDst, _)) => {
                            refuse(part.span, "which protocol's port this is cannot be said here: use 'th dport'")
                        }
                        ExprKind::Selector(selector) if selector.ty() != DataType::Boolean => Ok(selector.ty()),
                        _ => refuse(part.span, "a field such as 'tcp dport' is needed here"),
                    })
                    .collect()
            }
        }
    }

    /// A set or map written where it is used.
    pub(super) fn anonymous_set(
        &mut self,
        table: &TableKey,
        key: Vec<DataType>,
        data: DataKind,
        elements: &[Element],
        span: Span,
    ) -> Result<u32> {
        let at = self.sets.len() as u32;
        let merge = data == DataKind::None;
        let data = match data {
            // Whether values are ranges is seen from the first.
            DataKind::Values { types, .. } => {
                DataKind::Values { intervals: self.gives_intervals(&types, elements)?, types }
            }
            other => other,
        };
        self.sets.push(SetModel {
            key,
            data,
            interval: true,
            merge,
            size: u64::MAX,
            elements: Vec::new(),
            values: Vec::new(),
            otherwise: None,
        });
        self.add_each(table, at, elements, 0)?;
        let set = &mut self.sets[at as usize];
        if set.elements.is_empty() && set.otherwise.is_none() {
            return refuse(span, "an empty set matches nothing");
        }
        settle(set)?;
        Ok(at)
    }

    fn gives_intervals(&self, types: &[DataType], elements: &[Element]) -> Result<bool> {
        let [ty] = types else { return Ok(false) };
        match elements.first().and_then(|e| e.value.as_ref()) {
            Some(value) if !matches!(value.node, ExprKind::Verdict(_) | ExprKind::Concat(_)) => {
                Ok(interval(*ty, value)?.1 != Form::Single && matches!(ty, DataType::Ipv4Addr | DataType::Ipv6Addr))
            }
            _ => Ok(false),
        }
    }

    /// The map behind `map` or `vmap`, for keys of these types and values of this kind.
    pub(super) fn map(&mut self, table: &TableKey, sides: &[Side], map: &Expr, data: &DataKind) -> Result<u32> {
        if let Some(side) = sides.iter().find(|side| side.ty == DataType::Boolean) {
            return refuse(map.span, format!("type {} cannot be the key of a map", side.ty.name()));
        }
        match &map.node {
            ExprKind::Set(elements) => {
                let key = sides.iter().map(|side| side.ty).collect();
                self.anonymous_set(table, key, data.clone(), elements, map.span)
            }
            ExprKind::SetRef(name) => {
                let at = self.set_index(table, name, map.span)?;
                self.check_key(sides, at, map)?;
                let known = &self.sets[at as usize].data;
                let fits = match (known, data) {
                    (DataKind::Verdict, DataKind::Verdict) => true,
                    (DataKind::Values { types: a, intervals }, DataKind::Values { types: b, intervals: allowed }) => {
                        a == b && (*allowed || !*intervals)
                    }
                    _ => false,
                };
                if fits {
                    Ok(at)
                } else {
                    refuse(map.span, format!("the values of '{name}' are of another type than is needed here"))
                }
            }
            _ => refuse(map.span, "a map is needed here"),
        }
    }

    /// Whether a named set's keys are of the types of a selector.
    pub(super) fn check_key(&self, sides: &[Side], set: u32, at: &Expr) -> Result<()> {
        let known = &self.sets[set as usize].key;
        if known.len() == sides.len() && known.iter().zip(sides).all(|(a, b)| *a == b.ty) {
            return Ok(());
        }
        let names = |types: Vec<DataType>| types.iter().map(|ty| ty.name()).collect::<Vec<_>>().join(" . ");
        let (is, wants) = (names(known.clone()), names(sides.iter().map(|side| side.ty).collect()));
        refuse(at.span, format!("the keys of this set are of type {is}, not {wants}"))
    }

    pub(super) fn add_elements(&mut self, table: &TableKey, set: u32, elements: Vec<Element>) -> Result<()> {
        self.add_each(table, set, &elements, 0)
    }

    fn add_each(&mut self, table: &TableKey, set: u32, elements: &[Element], depth: u32) -> Result<()> {
        for element in elements {
            let key = &element.key;
            if let (ExprKind::Variable(inner), None) = (&key.node, &element.value)
                && let ExprKind::Set(nested) = &inner.node
            {
                if depth > MAX_DEPTH {
                    return refuse(key.span, "these sets are nested too deeply");
                }
                self.add_each(table, set, nested, depth + 1)?;
                continue;
            }
            self.spend(1, key.span)?;
            self.add_one(table, set, element)?;
        }
        Ok(())
    }

    fn add_one(&mut self, table: &TableKey, set: u32, element: &Element) -> Result<()> {
        let key = &element.key;
        let data = self.data(table, set, element)?;
        let model = &mut self.sets[set as usize];
        let slot = model.values.len() as u32;
        model.values.push(data);
        if key.node == ExprKind::Star {
            if model.otherwise.replace(slot).is_some() {
                return refuse(key.span, "'*' is there twice");
            }
            return Ok(());
        }
        let parts = match key.node.target() {
            ExprKind::Concat(parts) => parts.as_slice(),
            _ => std::slice::from_ref(key),
        };
        if parts.len() != model.key.len() {
            return refuse(key.span, format!("this key has {}, not {}", fields_of(parts.len()), model.key.len()));
        }
        let mut fields = Vec::with_capacity(parts.len());
        for (part, ty) in parts.iter().zip(&model.key) {
            let (value, form) = interval(*ty, part)?;
            if form != Form::Single && !model.interval {
                return Err(
                    Fault::new(part.span, "this set holds single values only").help("add 'flags interval' to it")
                );
            }
            fields.push(value);
        }
        model.elements.push((SetKey { fields, slot }, key.span));
        Ok(())
    }

    fn data(&self, table: &TableKey, set: u32, element: &Element) -> Result<Data> {
        let model = &self.sets[set as usize];
        match (&model.data, &element.value) {
            (DataKind::None, None) => Ok(Data::None),
            (DataKind::None, Some(value)) => refuse(value.span, "a value is for a map; this is a set"),
            (_, None) => refuse(element.key.span, "the value of this key is missing"),
            (DataKind::Verdict, Some(value)) => match &value.node {
                ExprKind::Verdict(verdict) => Ok(Data::Verdict(self.jump(table, verdict)?)),
                _ => refuse(value.span, "a verdict is needed here"),
            },
            (DataKind::Values { types, intervals }, Some(value)) => {
                let parts = match value.node.target() {
                    ExprKind::Concat(parts) => parts.as_slice(),
                    _ => std::slice::from_ref(value),
                };
                if parts.len() != types.len() {
                    return refuse(
                        value.span,
                        format!("this value has {}, not {}", fields_of(parts.len()), types.len()),
                    );
                }
                let mut values = Vec::with_capacity(parts.len());
                for (part, ty) in parts.iter().zip(types) {
                    let (value, form) = interval(*ty, part)?;
                    if form != Form::Single && !intervals {
                        return refuse(part.span, "a single value is needed here, not a range");
                    }
                    if form == Form::Single && *intervals {
                        return refuse(part.span, "the other values of this map are ranges: write this one as one too");
                    }
                    values.push(value);
                }
                Ok(Data::Values(values.into()))
            }
        }
    }
}

fn fields_of(count: usize) -> String {
    if count == 1 { "one field".to_owned() } else { format!("{count} fields") }
}

/// Makes keys disjoint: equal ones become one, overlapping ones are merged or refused.
pub(super) fn settle(set: &mut SetModel) -> Result<()> {
    // The kernel keeps both ends of an interval.
    let count = set.elements.len() as u64 * if set.interval { 2 } else { 1 };
    if let Some((_, span)) = set.elements.last().filter(|_| count > set.size) {
        return refuse(*span, format!("this set is declared to hold {} elements and has more", set.size));
    }
    if set.key.len() > 1 {
        return settle_concat(set);
    }
    let first = |key: &SetKey| key.fields.first().copied().unwrap_or(Interval::one(0));
    set.elements.sort_by_key(|(key, _)| first(key));
    let ranges = set.elements.iter().any(|(key, _)| !first(key).is_one());
    let mut settled: Vec<(SetKey, Span)> = Vec::with_capacity(set.elements.len());
    for (key, span) in std::mem::take(&mut set.elements) {
        let value = first(&key);
        let Some((last, _)) = settled.last_mut().filter(|(last, _)| first(last).last >= value.first) else {
            settled.push((key, span));
            continue;
        };
        if first(last) == value && set.values[last.slot as usize] == set.values[key.slot as usize] {
            continue;
        }
        if set.merge && ranges {
            if let Some(field) = last.fields.first_mut() {
                field.last = field.last.max(value.last);
            }
            continue;
        }
        if first(last) == value {
            return refuse(span, "this key is there already, with another value");
        }
        return Err(
            Fault::new(span, "this key overlaps with another one").help("'auto-merge' lets a set have such elements")
        );
    }
    set.elements = settled;
    Ok(())
}

/// Concatenations: equal keys become one, any other overlap is refused.
fn settle_concat(set: &mut SetModel) -> Result<()> {
    set.elements.sort_by(|(a, _), (b, _)| a.fields.cmp(&b.fields));
    let values = &set.values;
    let mut clash = None;
    set.elements.dedup_by(|(a, span), (b, _)| {
        let same = a.fields == b.fields;
        if same && values[a.slot as usize] != values[b.slot as usize] {
            clash = Some(*span);
        }
        same
    });
    if let Some(span) = clash {
        return refuse(span, "this key is there already, with another value");
    }
    if set.elements.iter().all(|(key, _)| key.fields.iter().all(|f| f.is_one())) {
        return Ok(());
    }
    // Sorted by the first field: only keys that begin before the other one ends can overlap.
    let overlap = |a: &Interval, b: &Interval| a.first <= b.last && b.first <= a.last;
    let mut open: Vec<usize> = Vec::new();
    let mut compared = 0;
    for (at, (key, span)) in set.elements.iter().enumerate() {
        open.retain(|&other| set.elements[other].0.fields[0].last >= key.fields[0].first);
        compared += open.len();
        if compared > MAX_COMPARED {
            return refuse(*span, "too many keys of this set have wide ranges in their first field");
        }
        let clashes = |&other: &usize| set.elements[other].0.fields.iter().zip(&key.fields).all(|(a, b)| overlap(a, b));
        if open.iter().any(clashes) {
            return refuse(*span, "this key overlaps with another one");
        }
        open.push(at);
    }
    Ok(())
}

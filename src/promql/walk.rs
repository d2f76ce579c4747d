//! Ways through a tree: its parts one by one, and a form in which places do not matter.

use std::sync::Arc;

use super::ast::{DurationExpr, DurationKind, Expr, Span, TimeShift, VectorSelector};

impl Expr {
    /// The expressions directly below, in the order of the text.
    pub fn children(&self) -> impl DoubleEndedIterator<Item = &Self> {
        let (pair, args) = match self {
            Self::Number(_) | Self::String(_) | Self::VectorSelector(_) | Self::MatrixSelector(_) => {
                ([None, None], [].as_slice())
            }
            Self::Subquery(subquery) => ([Some(&subquery.expr), None], [].as_slice()),
            Self::Unary(unary) => ([Some(&unary.expr), None], [].as_slice()),
            Self::Paren(paren) => ([Some(&paren.expr), None], [].as_slice()),
            Self::Binary(binary) => ([Some(&binary.left), Some(&binary.right)], [].as_slice()),
            Self::Aggregate(aggregate) => {
                ([aggregate.parameter.as_ref(), Some(&aggregate.expr)], [].as_slice())
            }
            Self::Call(call) => ([None, None], call.args.as_slice()),
        };
        pair.into_iter().flatten().chain(args)
    }

    /// Shows this expression and all below to `visit`, parents first, in the order of the text.
    pub fn walk<'a>(&'a self, mut visit: impl FnMut(&'a Self)) {
        let mut ahead = vec![self];
        while let Some(expr) = ahead.pop() {
            visit(expr);
            ahead.extend(expr.children().rev());
        }
    }

    /// The selectors within, those of ranges too.
    pub fn selectors(&self) -> Vec<&VectorSelector> {
        let mut selectors = Vec::new();
        self.walk(|expr| match expr {
            Self::VectorSelector(selector) => selectors.push(&**selector),
            Self::MatrixSelector(matrix) => selectors.push(&matrix.selector),
            _ => {}
        });
        selectors
    }

    /// Whether both say the same: places, and the order of a selector's matchers, aside.
    pub fn same_as(&self, other: &Self) -> bool {
        self.without_places() == other.without_places()
    }

    /// The same with all places 0, and matchers in the order in which they are printed.
    #[must_use]
    pub fn without_places(&self) -> Self {
        let mut copy = self.clone();
        copy.forget_places();
        copy
    }

    fn forget_places(&mut self) {
        match self {
            Self::Number(e) => e.span = Span::default(),
            Self::String(e) => e.span = Span::default(),
            Self::VectorSelector(e) => forget_in_selector(Arc::make_mut(e)),
            Self::MatrixSelector(e) => {
                let matrix = Arc::make_mut(e);
                matrix.span = Span::default();
                forget_in_selector(&mut matrix.selector);
                forget_in_duration(&mut matrix.range);
            }
            Self::Subquery(e) => {
                e.span = Span::default();
                forget_in_duration(&mut e.range);
                e.step.iter_mut().for_each(forget_in_duration);
                forget_in_time(&mut e.time);
                e.expr.forget_places();
            }
            Self::Unary(e) => {
                e.span = Span::default();
                e.expr.forget_places();
            }
            Self::Binary(e) => {
                (e.span, e.op_span) = (Span::default(), Span::default());
                e.left.forget_places();
                e.right.forget_places();
            }
            Self::Aggregate(e) => {
                e.span = Span::default();
                e.parameter.iter_mut().for_each(Self::forget_places);
                e.expr.forget_places();
            }
            Self::Call(e) => {
                e.span = Span::default();
                e.args.iter_mut().for_each(Self::forget_places);
            }
            Self::Paren(e) => {
                e.span = Span::default();
                e.expr.forget_places();
            }
        }
    }
}

fn forget_in_selector(selector: &mut VectorSelector) {
    selector.span = Span::default();
    selector.matchers.sort_by_cached_key(ToString::to_string);
    forget_in_time(&mut selector.time);
}

fn forget_in_time(time: &mut TimeShift) {
    time.offset.iter_mut().for_each(forget_in_duration);
}

fn forget_in_duration(duration: &mut DurationExpr) {
    duration.span = Span::default();
    match &mut duration.kind {
        DurationKind::Literal(_) | DurationKind::Number(_) | DurationKind::Step | DurationKind::Range => {}
        DurationKind::Unary(_, inner) | DurationKind::Paren(inner) => forget_in_duration(inner),
        DurationKind::Binary(_, left, right)
        | DurationKind::Min(left, right)
        | DurationKind::Max(left, right) => {
            forget_in_duration(left);
            forget_in_duration(right);
        }
    }
}

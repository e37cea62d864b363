"""
Where a source can be made wrong, and how. Pure: text in, text out.

A mutant replaces one piece of the text, so that everything else stays where it was: line numbers, comments,
what a test quotes. Not made wrong are text, docstrings and annotations, what stands in an f-string, and calls
that only write to a log.
"""

import ast
import dataclasses

COMPARISONS = {
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
}
ARITHMETIC = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "*"),
}
#: What is called only for a reader.
LOGS = ("log.", "_log.", "LOG.", "print(", "system.log(")
#: Characters on each side of it with which a mutant is described.
AROUND = 40
NO_CONTEXT = '__import__("contextlib").nullcontext()'


@dataclasses.dataclass(frozen=True)
class Site:
    """
    One mutant.

    start, end
        Offsets in the text of what is replaced.

    new
        What stands there instead.

    line, last
        The lines of the statement that it is in: a test that executes one of them executes the mutant.

    function
        The dotted name of the function or class around it; empty at the level of the module.

    at_load
        It runs when its module is loaded: whichever test had it loaded, all that use the module may see it.
    """

    start: int
    end: int
    new: str
    line: int
    last: int
    function: str
    at_load: bool = False

    def applied(self, source):
        """The whole text with this mutant in it."""
        return source[: self.start] + self.new + source[self.end :]

    def is_valid(self, source):
        """Whether Python can compile it; it takes too long to ask for those that no run draws."""
        try:
            compile(self.applied(source), "mutant", "exec", dont_inherit=True)
        except SyntaxError:
            return False
        return True

    def described(self, source):
        """One line: ``if held⟦==⟧ 1: → !=``, with what stands around it in its statement."""
        before = " ".join(source[max(0, self.start - AROUND) : self.start].splitlines()[-1:])
        after = " ".join(source[self.end : self.end + AROUND].splitlines()[:1])
        return f"{_one_line(before, source[self.start : self.end], after)} → {_short(self.new)}"


def _one_line(before, old, after):
    return " ".join(f"{before}⟦{_short(old)}⟧{after}".split())


def _short(text):
    words = " ".join(text.split())
    return words if len(words) <= 60 else words[:58] + " …"


def of(source):
    """All mutants of a text, in its order, as a list of :class:`Site`; see :py:meth:`Site.is_valid`."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    return sorted(set(finder.found), key=lambda one: (one.start, one.end, one.new))


class _Finder(ast.NodeVisitor):
    """Collects the sites of one source; the statement and the function around a node are known on the way."""

    def __init__(self, source):
        self._source, self.found = source, []
        self._function, self._statement = [], None
        self._bodies = 0  # of functions, around what is visited
        # ast counts in bytes of UTF-8, a text in characters.
        self._lines, offset = [], 0
        for line in source.splitlines(keepends=True):
            self._lines.append((offset, line))
            offset += len(line)

    def _offset(self, line, column):
        offset, text = self._lines[line - 1]
        return offset + len(text.encode()[:column].decode())

    def _span(self, node):
        return (
            self._offset(node.lineno, node.col_offset),
            self._offset(node.end_lineno, node.end_col_offset),
        )

    def _text(self, node):
        start, end = self._span(node)
        return self._source[start:end]

    def _add(self, start, end, new):
        statement = self._statement
        # Of a compound statement only its head: its body has statements of its own.
        last = statement.end_lineno
        for block in ("body", "cases", "handlers"):
            inner = getattr(statement, block, None)
            if inner and isinstance(inner, list):
                last = min(last, max(statement.lineno, inner[0].lineno - 1))
        function = ".".join(self._function)
        self.found.append(Site(start, end, new, statement.lineno, last, function, not self._bodies))

    def _replace(self, node, new):
        self._add(*self._span(node), new)

    def visit(self, node):
        before = self._statement
        if isinstance(node, (ast.stmt, ast.ExceptHandler)):
            self._statement = node
        super().visit(node)
        self._statement = before

    def _between(self, left, right, old, new):
        start, end = self._span(left)[1], self._span(right)[0]
        found = self._source.find(old, start, end)
        # What is between two operands is the operator, parentheses and perhaps a comment.
        if found >= 0 and "#" not in self._source[start:end]:
            self._add(found, found + len(old), new)

    # --- what is not looked into ---

    def visit_JoinedStr(self, node):  # noqa: N802
        """Nothing: before Python 3.12 its parts have no place of their own."""

    def _named(self, node):
        self._function.append(node.name)
        for decorator in node.decorator_list:
            self.visit(decorator)
        if not isinstance(node, ast.ClassDef):
            for default in [*node.args.defaults, *(one for one in node.args.kw_defaults if one)]:
                self.visit(default)
        self._bodies += not isinstance(node, ast.ClassDef)
        for statement in node.body:
            self.visit(statement)
        self._bodies -= not isinstance(node, ast.ClassDef)
        self._function.pop()

    visit_FunctionDef = visit_ClassDef = _named  # noqa: N815

    def visit_AnnAssign(self, node):  # noqa: N802
        if node.value:
            self.visit(node.value)

    # --- expressions ---

    def visit_Compare(self, node):  # noqa: N802
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands, node.ops, operands[1:]):
            self._between(left, right, *COMPARISONS[type(operator)])
        self.generic_visit(node)

    def visit_BoolOp(self, node):  # noqa: N802
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:]):
            self._between(left, right, old, new)
        self.generic_visit(node)

    def visit_BinOp(self, node):  # noqa: N802
        texts = any(_is_text(one) for one in (node.left, node.right))
        if type(node.op) in ARITHMETIC and not texts:
            self._between(node.left, node.right, *ARITHMETIC[type(node.op)])
        self.generic_visit(node)

    def visit_UnaryOp(self, node):  # noqa: N802
        if isinstance(node.op, ast.Not):
            self._replace(node, f"bool({self._text(node.operand)})")
        self.generic_visit(node)

    def visit_Constant(self, node):  # noqa: N802
        if isinstance(node.value, bool):
            self._replace(node, str(not node.value))
        elif isinstance(node.value, (int, float)):
            self._replace(node, f"({self._text(node)} + 1)")

    def visit_IfExp(self, node):  # noqa: N802
        self._negate(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node):
        for test in node.ifs:
            self._negate(test)
        self.generic_visit(node)

    def _negate(self, test):
        # A single comparison and ``not`` are turned round already.
        turned = isinstance(test, ast.Compare) and len(test.ops) == 1 or isinstance(test, ast.UnaryOp)
        if not turned:
            self._replace(test, f"(not ({self._text(test)}))")

    # --- statements ---

    def visit_If(self, node):  # noqa: N802
        self._negate(node.test)
        self.generic_visit(node)

    visit_While = visit_If  # noqa: N815

    def visit_Expr(self, node):  # noqa: N802
        if isinstance(node.value, ast.Call) and self._text(node).startswith(LOGS):
            return
        if isinstance(node.value, ast.Call):
            self._replace(node, "pass")
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def visit_Return(self, node):  # noqa: N802
        if node.value is not None and not _is_none(node.value):
            self._replace(node.value, "None")
        self.generic_visit(node)

    def visit_Raise(self, node):  # noqa: N802
        self._replace(node, "pass")

    def visit_Break(self, node):  # noqa: N802
        self._replace(node, "continue")

    def visit_Continue(self, node):  # noqa: N802
        self._replace(node, "break")

    def visit_AugAssign(self, node):  # noqa: N802
        if type(node.op) in ARITHMETIC and not _is_text(node.value):
            old, new = ARITHMETIC[type(node.op)]
            self._between(node.target, node.value, f"{old}=", f"{new}=")
        self.generic_visit(node)

    def visit_With(self, node):  # noqa: N802
        for item in node.items:
            if item.optional_vars is None and isinstance(item.context_expr, ast.Call):
                self._replace(item.context_expr, NO_CONTEXT)
        self.generic_visit(node)

    def visit_ExceptHandler(self, node):  # noqa: N802
        plain = len(node.body) == 1 and isinstance(node.body[0], ast.Raise)
        if not plain:
            start, end = self._span(node.body[0])[0], self._span(node.body[-1])[1]
            self._add(start, end, "raise")
        self.generic_visit(node)


def _is_text(node):
    return isinstance(node, ast.JoinedStr) or isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_none(node):
    return isinstance(node, ast.Constant) and node.value is None

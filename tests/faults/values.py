"""What cells, encodings and mapping files are mutated to."""

MARK = "zyxwvut"  # in every text and student id, and to be found nowhere but in responses/
COLUMNS = ("response_id", "item_id", "text", "student_id", "submitted_at", "human_score", "season")
VALUES = (
    "", " ", "\t", "\u00a0", "\u200b", "\ufeff", "\u2028", "\u2029", "\x85", "\x0b", "\x0c",
    "\x00", "a\x00b", "\x01", "\x1b[31m", "\x7f", "\ud800", "\udfff x", "x\udc80", "\uffff",
    "\U0010ffff", "e" + "\u0301" * 500, "\u202e evil", "\u2066", "👩‍👩‍👧‍👧" * 50, "ﷺ" * 100,
    "\n", "\r", "\r\n", "a\nb", "a\rb", "a\r\nb\n\n", '"', '""', '"""', "'", ",", ";", "|", '","',
    "../../x", "../../../../../../tmp/x", "/etc/passwd", "..", ".", "~", "a/b", "a\\b", "C:\\x",
    "file:///etc/passwd", "\\\\host\\share", "con", "nul", "x" * 250, "x/" * 130, "%2e%2e%2f",
    "=1+1", "=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "=HYPERLINK(\"http://x\")", "#REF!",
    "'; DROP TABLE responses; --", "$1", "$run_id", "{0}", "{{x}}", "%s%n%d", "<script>x</script>",
    "&lt;", "&xxe;", "${jndi:ldap://x}", "`id`", "$(id)", "null", "NULL", "None", "NaN", "nan",
    "inf", "-inf", "1e400", "1E+400", "1e-400", "-0", "0x10", "1_000", "1,5", "1.5", "1.25", "99",
    "-1.0", "9" * 400, "٣", "３", "½", "²", "1.23E+11", "0" * 300, "True", "[]", "{}", "[1]",
    "0000-00-00", "2026-13-45", "9999-12-31", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00+23:59",
    "2026-02-30", "12/31/2026", "20260312", "2026-W11-4", "now", "2026-03-12T10:00:00+99:99",
    "1970-01-01", "2026-03-12T25:61:61Z", "2026-03-12 10:00:00 XYZ", "December 31, 9999 11:59 PM",
    "x" * 19_999, "x" * 20_000, "x" * 20_001, "é" * 20_000, "x" * 100_000, "\n" * 20_001,
    " " * 25_000, "word " * 3_999, "\u0e01" * 5_000,
)  # fmt: skip
ENCODINGS = (
    "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-7",
    "cp1252", "latin-1", "cp037", "cp437", "mac-roman", "shift_jis", "euc_kr", "gb18030", "big5",
    "koi8-r", "iso2022_jp", "cp1251", "hz", "ascii",
)  # fmt: skip
_LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
)
MAPPINGS = (
    "columns: {response_id: response_id, item_id: item_id, text: text}\n",
    "columns: {text: student_id}\nconstants: {season: ../../x, item_id: A}\ndelimiter: ','\n",
    "columns: {text: text}\nencoding: utf-16\nquoting: literal\n",
    "encoding: rot13\n", "encoding: base64\n", "encoding: idna\n", "encoding: unicode_escape\n",
    "encoding: undefined\n", "encoding: utf-7\n", "encoding: hex\n", "encoding: punycode\n",
    "encoding: mbcs\n", "encoding: raw_unicode_escape\n", "encoding: utf_8_sig\n",
    "delimiter: tab\n", "delimiter: x\n", "delimiter: ' '\n", "delimiter: \"\\0\"\n",
    "submitted_at_format: '%Q%%%'\n", "submitted_at_format: '%Y-%m-%dT%H:%M:%SZ'\n",
    "submitted_at_format: '%'\n", "submitted_at_format: '" + "%d" * 200 + "'\n",
    "traits: {ideas: {human_score: human_score}}\n", "traits: {'': {human_score: human_score}}\n",
    "traits: {\"\\u0007\": {human_score: human_score, human_score_2: human_score}}\n",
    "subgroups: {region: item_id, other: season}\n", "subgroups: {x: text}\n",
    "constants: {season: \"\\uD800\"}\n", "constants: {season: ''}\n",
    "constants: {trait: ideas}\n",
    "columns: {response_id: '', item_id: '', text: ''}\n", "columns: [1, 2]\n", "- x\n", "x\n", "",
    "columns: &a {text: *a}\n", "!!python/object/apply:os.system ['id']\n", "? [a]\n: b\n",
    "columns: {<<: {text: text}}\n", "a: " * 3_000, "[" * 3_000, "{" * 3_000, _LAUGHS,
    "columns: {text: " + "x" * 50_000 + "}\n", "\ufeffcolumns: {}\n", "%YAML 9.9\n---\n{}\n",
    "columns: {}\n---\ncolumns: {}\n", "columns: {text: text, text: text}\n", "\x00", "\t: x",
)  # fmt: skip

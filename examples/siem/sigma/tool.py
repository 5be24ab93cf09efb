"""Does with the Sigma rules of this folder what needs pySigma.

  tool.py check           has sigma-cli look for mistakes
  tool.py convert FOLDER  converts all rules, with sigma-cli, to one file a query language
  tool.py judge           says which rules fire on which events

judge reads JSON on standard input, {CASE: {OUTPUT: [record, …]}}, where a record has
the flat fields that the output of that name delivers, and prints {CASE: {OUTPUT: [rule, …]}}.
A rule is converted with that output's pipeline, to SQL, and SQLite judges: neither the
rules nor the program that made the events have a part in that.
"""

import contextlib
import io
import json
import sqlite3
import sys
import tempfile
from pathlib import Path

import yaml
from click.testing import CliRunner
from sigma.cli import check, convert as conversion

HERE = Path(__file__).parent
RULES = sorted(HERE.glob("*.yml"))
# Of each query language: target of sigma-cli, pipeline, how a comment begins.
LANGUAGES = {
    "splunk.spl": ("splunk", "splunk", "```"),
    "elastic.lucene": ("lucene", "elastic", "//"),
    "elastic.eql": ("eql", "elastic", "//"),
    "sentinel.kql": ("kusto", "sentinel", "//"),
}
PIPELINES = {"ecs": "elastic", "ocsf": "splunk", "sentinel": "sentinel"}


def pipeline(name):
    return HERE / "pipelines" / f"{name}.yml"


def sigma(command, *arguments):
    """One of sigma-cli's commands, in this process: its imports take a second each time."""
    with contextlib.redirect_stderr(io.StringIO()):  # progress, which is of no interest
        result = CliRunner().invoke(command, [str(a) for a in arguments])
    if result.exit_code != 0:
        sys.exit(f"sigma {command.name} {' '.join(map(str, arguments))}:\n{result.output}\n{result.exception!r}")
    return result.stdout


def convert(target, pipeline_file, rule):
    with tempfile.NamedTemporaryFile("r") as out:
        sigma(conversion.convert, "-t", target, "-p", pipeline_file, "-o", out.name, rule)
        return out.read().strip()


def base_alone(rule):
    """The rule without the correlation that stands behind it."""
    file = tempfile.NamedTemporaryFile("w", suffix=".yml")
    yaml.safe_dump(list(yaml.safe_load_all(rule.read_text()))[0], file)
    file.flush()
    return file


def burst(target, pipeline_file, rule, correlation):
    """What neither the Lucene nor the Kusto backend of pySigma can convert."""
    with base_alone(rule) as base:
        query = convert(target, pipeline_file, base.name)
    (by,), span, least = correlation["group-by"], correlation["timespan"], correlation["condition"]["gte"]
    if target == "lucene":  # which cannot count: the search engine's threshold rule or monitor does
        return f"// threshold: {least} or more in {span} of the same {by}, cardinality by genesys.audit.change.id\n{query}"
    column = yaml.safe_load(pipeline_file.read_text())["transformations"][0]["mapping"][by]
    return (
        f"{query}\n| summarize EventCount = dcount(ChangeId), LastTime = max(TimeGenerated) by {column}, bin(TimeGenerated, {span})"
        f"\n| where EventCount >= {least}"
    )


def convert_all(folder):
    for file, (target, pipeline_name, comment) in LANGUAGES.items():
        text = []
        for rule in RULES:
            documents = list(yaml.safe_load_all(rule.read_text()))
            correlation = documents[-1].get("correlation")
            if correlation and target in ("lucene", "kusto"):
                query = burst(target, pipeline(pipeline_name), rule, correlation)
            else:
                query = convert(target, pipeline(pipeline_name), rule)
            end = " ```" if comment == "```" else ""
            text.append(f"{comment} {rule.stem}: {documents[-1]['title']} ({documents[-1]['level']}){end}\n{query}\n")
        Path(folder, file).write_text("\n".join(text))


def queries(output):
    """The rules as SQL, in the names of an output."""
    text = yaml.safe_load(pipeline(PIPELINES[output]).read_text())
    text.pop("postprocessing", None)  # which is Kusto's
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump(text, file)
        file.flush()
        return {rule.stem: convert("sqlite", file.name, rule) for rule in RULES}


def fired(records, output, rules):
    names = yaml.safe_load(pipeline(PIPELINES[output]).read_text())["transformations"][0].get("mapping", {}).values()
    quoted = {name for sql in rules.values() for name in sql.split("`")[1::2]} - {"rowid"}  # which SQLite has by itself
    columns = sorted({name for r in records for name in r} | quoted | set(names))
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE logs (%s)" % ", ".join(f"`{c}` COLLATE NOCASE" for c in columns))
    for r in records:
        values = [r.get(c) for c in columns]
        database.execute("INSERT INTO logs VALUES (%s)" % ", ".join("?" * len(columns)), values)
    return [name for name, sql in rules.items() if database.execute(sql).fetchall()]


def judge():
    cases = json.load(sys.stdin)
    rules = {output: queries(output) for output in PIPELINES}
    verdicts = {case: {o: fired(records, o, rules[o]) for o, records in outputs.items()} for case, outputs in cases.items()}
    json.dump(verdicts, sys.stdout)


match sys.argv[1:]:
    case ["check"]:
        print(sigma(check.check, "--fail-on-issues", "--validation-config", HERE / "check.yaml", *RULES))
    case ["convert", folder]:
        convert_all(folder)
    case ["judge"]:
        judge()
    case _:
        sys.exit(__doc__)

#!/usr/bin/env python3
"""MMLU and MRPC, from the tables of the official package to request files.

    dev/eval/tables.py HF_DATASETS OUT

writes, in the form of the official request files,

    OUT/mrpc/rc_0shot               as OLMo asks it in the loop: yes or no, F1 of yes
    OUT/mmlu_stem/rc_0shot, ...     MMLU's validation questions in OLMo's four groups, the answers' texts
                                    as choices, as OLMo asks them in the loop
    OUT/mmlu/SUBJECT/mc_0shot       its 14,042 test questions, with the letters A to D as choices, as
                                    open-instruct asks them: `eval mmlu`

dev/eval/tasks.sh calls it.  Needs pyarrow.
"""
import gzip
import json
import pathlib
import re
import sys

import pyarrow as pa

# The groups, and their subjects in the order in which OLMo lines them up (olmo/eval/downstream.py).
GROUPS = {
    "stem": "astronomy college_physics conceptual_physics high_school_physics college_chemistry"
            " high_school_chemistry college_biology high_school_biology college_computer_science"
            " computer_security high_school_computer_science machine_learning abstract_algebra"
            " college_mathematics elementary_mathematics high_school_mathematics high_school_statistics"
            " electrical_engineering",
    "humanities": "high_school_european_history high_school_us_history high_school_world_history prehistory"
                  " formal_logic logical_fallacies moral_disputes moral_scenarios philosophy world_religions"
                  " international_law jurisprudence professional_law",
    "social_sciences": "high_school_government_and_politics public_relations security_studies"
                       " us_foreign_policy human_sexuality sociology econometrics"
                       " high_school_macroeconomics high_school_microeconomics high_school_geography"
                       " high_school_psychology professional_psychology",
    "other": "global_facts miscellaneous professional_accounting business_ethics management marketing anatomy"
             " clinical_knowledge college_medicine human_aging medical_genetics nutrition"
             " professional_medicine virology",
}


def read_table(directory):
    path, = pathlib.Path(directory).glob("*.arrow")
    return pa.ipc.open_stream(path).read_all().to_pylist()


def write_task(directory, name, metric, questions):
    """questions: (context, choices, label) each"""
    directory.mkdir(parents=True)
    config = {"task_name": name, "task_config": {"task_name": name, "primary_metric": metric, "num_shots": 0},
              "num_instances": len(questions)}
    (directory / "config.json").write_text(json.dumps(config) + "\n")
    with gzip.GzipFile(directory / "requests.jsonl.gz", "wb", mtime=0) as file:
        for doc_id, (context, choices, label) in enumerate(questions):
            doc = {"choices": [choice.removeprefix(" ") for choice in choices], "gold": label}
            for idx, continuation in enumerate(choices):
                line = {"request_type": "loglikelihood", "doc": doc,
                        "request": {"context": context, "continuation": continuation}, "idx": idx,
                        "task_name": name, "doc_id": doc_id, "native_id": doc_id, "label": label}
                file.write((json.dumps(line) + "\n").encode())


def detokenize(sentence):
    for before, after in (" n't", "n't"), (" )", ")"), ("( ", "("), ('" ', '"'), (' "', '"'):
        sentence = sentence.replace(before, after)
    return re.sub(r" (['.,])", r"\1", sentence)


def main():
    tables, out = map(pathlib.Path, sys.argv[1:])
    mmlu = tables / "hails/mmlu_no_train"
    write_task(out / "mrpc/rc_0shot", "mrpc", "f1", [
        (f"Sentence 1: {detokenize(row['sentence1'])}\nSentence 2: {detokenize(row['sentence2'])}\n"
         "Question: Do both sentences mean the same thing?\nAnswer:", [" yes", " no"],
         0 if row["label"] else 1)
        for row in read_table(tables / "glue/mrpc/validation")])
    for group, subjects in GROUPS.items():
        write_task(out / f"mmlu_{group}/rc_0shot", f"mmlu_{group}", "acc_per_char", [
            (f"Question: {row['question'].strip()}\nAnswer:", [" " + choice for choice in row["choices"]],
             row["answer"])
            for subject in subjects.split() for row in read_table(mmlu / subject / "validation")])
    for subject in sorted(path.name for path in mmlu.iterdir()):
        letters = "ABCD"
        write_task(out / f"mmlu/{subject}/mc_0shot", subject, "acc_raw", [
            # two spaces before the subject, as in open-instruct
            ("The following are multiple choice questions (with answers) about  " + subject.replace("_", " ")
             + ".\n\n" + row["question"]
             + "".join(f"\n{letter}. {choice}" for letter, choice in zip(letters, row["choices"]))
             + "\nAnswer:", [f" {letter}" for letter in letters], row["answer"])
            for row in read_table(mmlu / subject / "test")])


main()

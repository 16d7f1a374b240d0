"""Helpers of the fine-tuning course: the plumbing, so that the notebooks can show the ideas.

Notebooks import the flat modules and the checkers of `exercises`, and nothing else. In brackets: the notebooks that do.

start    session     seed, threads, quiet libraries, figure style, clock [all]
         machine     is this machine fit, and how fast is it? [00]
         preflight   is this machine ready for a workshop? []
         progress    what a learner has done, in one file, and what is next []
         board       the progress of a class, as a picture for the room []
         paths       where things are; checksums; JSON files that are always whole [00 07 09 10 12 13]
data     data        the reports, ours or a CSV of yours, in splits [all]
         tables      a CSV as it is written: encoding, separator, rows and broken rows []
         columns     which column is which, and what its values mean []
         validate    what is wrong with a CSV, where, and how to mend it [01]
         twins       texts that are nearly the same [08]
words    terms       clinical terms, and their standard form [07 08]
         context     is a finding there, absent, past, someone else's? [07]
         augment     changed copies of training reports [07 08]
         leaks       what gives a label away [08 10]
         records     a report's record as JSON, and what of a written one is made up []
         fundus      a fundus, drawn from the facts of an eye []
yours    suitability is your file fit, can the base read it, what is the bar? [07 08 09 10]
         fit         a grader for your file, by one command []
         page        findings as one web page []
         search      search for settings, and what the winner is worth []
         train_many  one script that trains in as many processes as there are []
         pictures    pictures and reports: two towers, and does a model look? []
models   models      base models, and a head on one [all]
         adapt       what a method trains: all weights, LoRA, the last layers [03 11 13]
         training    our training loop, and prediction [00 01 03 04 07 09 10 12 13]
         trainer     `Trainer`, made quiet [02 10 11]
         causal      scores of a causal model, and packing [02 11]
         decoders    known decoders by their shapes: weights, LoRA's share, memory []
         chat        a decoder that answers: template, answer mask, training, generation []
         federated   rounds of training at several sites, and what leaks []
         scale       several processes that are one: start, share out, keep, prove []
judging  metrics     measures, intervals, paired comparisons [00 01 02 03 04 07 08 09 10 12 13]
         calibration do chances fit what happens, and what is a decision worth? [10 12]
         costs       milliseconds and megabytes of a method [03 11]
         figures     figures, from numbers [all]
         drawings    drawings of ideas, with their words [00 01 02 03 04 08 09 10 11 12 13]
         results     the results table and the ledger of the article's claims [all]
shipping export      a grader as a folder: ONNX, tokenizer, contract [12 13]
         graphs      the same grader with less work: one report at a time [12]
         engines     what runs a model file, and which is the fastest here []
         serve       grades reports with such a folder, without torch [12]
         service     grades reports over HTTP, on this machine []
         bulk        grades a folder of millions of reports, and goes on after a kill []
         gate        may a candidate serve: yes, no, or not shown [13]
         logbook     a log that is only ever added to []
         registry    versions, and the rules by which one may serve [13]
         tracking    runs tracked on this machine alone [11]

Three folders make the course and are not part of it: `authoring` (run, render and compare the notebooks), `generate` (the
reports and the base models) and `experiments` (what is measured in long runs). tests/test_layout.py holds who may import whom.
"""

import os
import warnings

__version__ = "0.1.0"

# On a busy two-core machine, threads that spin while they wait make small models many times slower. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
warnings.filterwarnings("ignore", message="IProgress not found")  # the bars are plain text here, by choice

"""The state of a mention: each state, where the reach of a cue ends, headings, eyes, and any text without an error."""

import sys
from itertools import combinations

import pytest

from course_utils import context, paths
from course_utils.experiments import context as context_runs

SAID = {  # "*" stands around the mention
    "affirmed": [
        "Denies chest pain but reports *cough*.",
        "No fever; *cough* present.",
        "No fever, cough. *Rash* on both arms.",
        "No evidence of clot and has *swelling*.",
        "Not only *hypertension* but also diabetes.",
        "No change in the *oedema*.",
        "No increase in *exudates*.",
        "Gram negative *sepsis*.",
        "Walks without difficulty despite *arthritis*.",
        "The fundus cannot be seen because of *cataract*.",
        "Not without *pain*.",
        "There is no doubt about the *fracture*.",
        "Troponin negative, *chest pain* ongoing.",
        "*Chest pain* on Monday, denied fever.",
        "h/o gout, now *angina*.",
        "Three days prior to admission he developed *dyspnoea*.",
        "A 45-year-old man with *diabetes*.",
        "History: 3 days of *cough*.",
        "Presents with a 3-day history of *fever*.",
        "The *rash* has not resolved.",
        "His mother reports he has *fever*.",
        "Lives with father; has *asthma*.",
        "Mother had glaucoma and the patient has *cataract*.",
        "cough(+), *fever*(+)",
    ],
    "negated": [
        "No haemorrhages, *exudates* or cotton wool spots.",
        "Denies fever, chills, nausea, *vomiting*, or diarrhoea.",
        "The patient denies any fever, chills, night sweats, palpitations,\nor *syncope*.",
        "Headache w/o *aura*.",
        "*Chest pain*: nil",
        "*NVD*, IRMA/VB: nil.",
        "*PE* was ruled out.",
        "*Effusion* is not seen.",
        "*Venous beading* and IRMA are absent.",
        "Chest *pain*-free.",
        "*NVD*(-), NVE(-)",
        "Suspected *PE* was ruled out.",
        "Denies previous *stroke*.",
        "No family history of *glaucoma*.",
        "NO *FEVER*. NO COUGH.",
        "Doesn't have *asthma*.",
    ],
    "uncertain": [
        "Possible *pneumonia*.",
        "? *glaucoma*",
        "*TIA*?",
        "r/o *PE*",
        "CT to rule out *abscess*.",
        "*PE* cannot be excluded.",
        "No fever, likely *viral illness*.",
        "Pneumonia vs *atelectasis*.",
    ],
    "historical": [
        "h/o *DVT*",
        "s/p *MI* in 2010, no angina.",
        "Previous *retinal detachment*, now flat.",
        "Old *new vessels*, treated and no longer active.",
        "No longer has *headaches*.",
        "*Shingles* last year.",
        "PMH: COPD. *Gout*.",
        "PAST MEDICAL HISTORY:\n1. Asthma\n2. *Hypertension*\n",
    ],
    "family": [
        "Mother has *glaucoma*.",
        "FAMILY HISTORY: *glaucoma*",
        "Family history:\nfather - *stroke*\n",
        "*Melanoma* in his paternal uncle.",
        "FHx: NVD (mother), *NVE* (brother).",
        "Father died of *MI* at 50.",
    ],
}
NOTES = {  # one-line notes, made while the engine was; [ ] stand around the mention
    "affirmed": [
        "Neck: no stiffness   Skin intact   no rash   [jaundice] noted   alert",
        "Wt 70 kg   BP 130/80   no oedema   [murmur] apex   lungs clear",
        "Cornea clear   no flare   [cataract] 2+   IOP 14   Disc pink",
        "BCVA 6/9   no APD   [ptosis] left   Motility full",
        "Afebrile   no rigors   [productive cough]   Sats 94%",
        "Abdo soft   no guarding   [tender RIF]   BS present",
        "Alert   no photophobia   [neck pain] mild   Power 5/5",
        "No lymph nodes  [enlarged tonsils]  Ears NAD  chest clear",
        "Mood low   no psychosis   [poor sleep]   Eating well",
        "Seen in clinic   no bleeding   [haematoma] at port site   Sutures out",
        "G1P0   no headache   [ankle swelling]   Urine clear",
        "S1 S2   no rub   [ejection murmur]   JVP not raised",
        "CHIEF COMPLAINT: Cough HPI: 3 days of [fever], no chills ROS: negative",
        "Social: never smoked   Exam: [murmur] heard",
        "VITALS: afebrile. LUNGS: no wheeze. HEART: [murmur] II/VI. ABDOMEN: soft.",
        "Current meds: none. Active problems: [lupus], anaemia.",
        "Pt is a 34 y/o F w/ [migraine], no aura, here for refill",
        "Past surgical history: none. Current problems: [gallstones]",
        "s/p fall, no LOC. [Hip pain] right.",
        "Troponin neg x2. [GERD] on PPI",
        "EKG: NSR, no ST changes   CXR: [cardiomegaly]   Labs: pending",
        "No interval change in [nodule]",
        "Wound: no drainage • [Erythema] at margins • sutures intact",
        "PLAN: 1) continue insulin 2) no smoking 3) [hypertension]: add amlodipine",
        "Skin: warm, dry, no rashes; Extremities: [edema] 2+",
        "Pain: 0/10  Nausea: 0  [Constipation]: 3 days",
        "Fam hx neg for CA.   Pt has [hepatitis C].",
        "Mother worried about weight. [Eczema] on cheeks.",
        "Denies alcohol.  Reports [insomnia] nightly.",
        "Denies alcohol, reports [insomnia]",
        "Not on any medication. [Asthma] well controlled.",
        "Cardiac: no CP; Pulm: [SOB] with stairs; GI: no N/V",
        "Patient is not sure when the [rash] began.",
        "No PE. [DVT] in left calf on US.",
        "2. [Type 2 diabetes] - A1c 7.1 3. Hypertension - not at goal",
        "Hypertension - not at goal - [CKD] stage 2",
        "Assessment/Plan: # [COPD] exacerbation # no pneumonia",
        "No complaints today   Problem list:  Obesity, [sleep apnoea], gout",
        "Negative: HIV, HBV. Positive: [syphilis]",
        "Cataract surgery uncomplicated   [Posterior capsule opacity] OS now",
        "No RD or tear\t[PVD] OD\tF/u 6 wk",
        "[Glaucoma]: IOP controlled on drops, no progression",
        "no NVD/NVE   [Drusen] in macula OU",
        "Markers not elevated. [Adenoma] benign.",
        "Allergies: No known allergies   Diagnosis Date   • [Cataract]   • Gout",
        "No CME - [cataract] OU",
        "FINDINGS: no haemorrhage IMPRESSION: [drusen]",
        "1) No edema 2) [Cataract]",
        "[Renal stone] with negative urine culture.",
        "No cough   [Wheeze] on the left",
        "No known drug allergies  [Hypertension], on lisinopril",
        "* no stridor * [croup] * hydrated",
        "no DVT; • [varicose veins]",
        "No fracture (grade 2) seen. #2 [Sprain] of the ankle",
        "Neck: no bruit Lungs: [crackles] at both bases",
        "Abscess: none Hernia: [inguinal] right",
        "Chest pain? No [Ankle swelling]? Yes",
        "Depression: No\tAnxiety: Yes\t[Insomnia]: Yes",
        "Surgical history: none   Diagnosis:  [Tonsillitis]",
        "Heartburn - no - [bloating] - yes - melaena - no",
        "Fever nil\n[Cough] for a week",
        "Negative for influenza   [Sinusitis] on CT",
        "PMH: asthma   PLAN: antibiotics for [cellulitis]",
        "FH: mother glaucoma   EXAM: [drusen]",
        "Indication: rule out stone   Findings: [hydronephrosis]",
        "No further imaging needed. [Ascites] drained.",
        "ASSESSMENT: 1. No sepsis. 2. [Dehydration].",
        "Smoker? Yes, so [COPD] is treated",
        "Return if worse.  Today [rash] on both arms.",
        "h/o gout\n- [osteoarthritis] of the hip",
        "Discharge Diagnosis: 1. No acute MI 2. [Pneumonia] 3. CHF",
        "Patient denies fever - [cough] productive - SOB on exertion",
        "No significant past medical history.  [Fracture] of left radius",
        "GENERAL: no distress   HEENT: [conjunctivitis] on right",
        "- no headache\n- [back pain]\n- no fever",
        "No rash\n[Oedema] of both legs",
        "No rash. [Oedema] of both legs",
        "Allergies: none known Problems: [COPD], CHF",
        "Allergies: no. [Eczema] since birth",
        "Latex allergy? No. [Hay fever]? Yes.",
        "a) no abscess b) [fistula] c) healing well",
        "(1) No stone (2) [cyst] left kidney",
        "• No acute findings.\n• [Emphysema].",
        "negative urine dip, [dysuria] persists",
        "[Dysuria] with negative dip",
        "[Cough] without fever",
        "[Stroke] with no residual deficit",
        "[Pneumonia], cultures negative",
        "[Diarrhoea] but no vomiting",
        "[Chest pain] - no radiation - 2 hours",
        "[UTI] - no fever",
        "[Anaemia]   no melaena",
        "Imp: [CKD] stage 3   no proteinuria",
        "No acute disease. Stable [cardiomegaly].",
        "FINDINGS: No mass. There is a [cyst] in the left lobe.",
        "No pneumothorax, and there is [consolidation]",
        "IMPRESSION: No PE; [atelectasis].",
        "No PE | [atelectasis] | effusion",
        "Fever: no, chills: no, [cough]: yes",
        "Chest pain (-)  [Dyspnoea] (+)",
        "[Diabetes]: Y   Asthma: N",
        "[Cataract] OU, no CME",
        "POH: none   Exam: [cataract] OU",
        "Family history: none.  Assessment: [cataract]",
        "Family Hx negative.   Dx: [glaucoma]",
        "PMH none   [chest pain] since this morning",
        "Past history: none\nPresenting complaint: [headache]",
        "Patient presents with [fever]. No cough.",
        "HPI:  45 yo with [headache]  for 3 days",
        "[Hypertension]: on lisinopril",
        "[Hypertension]\nMeds: none",
        "Rule out MI   [Angina] on exertion",
        "No further treatment for [acne]",
        "no improvement in [pain]",
        "no longer responding to treatment for [epilepsy]",
        "His [asthma] should improve with treatment",
        "She should continue aspirin for [angina]",
        "If not better call.  [Sinusitis] today",
        "If he calls, tell him the [fracture] is healing",
        "[Nausea] is worse if she skips meals",
        "Diagnosis: [Sinusitis]. Return if worse.",
        "Risk factors: smoker.   [Angina] class II",
        "No  complaints  but  [wheeze]  heard",
        "Nil acute. [Cataract] stable.",
        "The test was negative. He has [gout].",
    ],
    "negated": [
        "The exam today shows no focal neurological   deficit, tremor   or [weakness] in the limbs.",
        "He denies any recent chest   pain, nausea, or   vomiting, and has had no   serious [infection] since.",
        "There was no sign of an underlying   [infection] at any   point in the stay.",
        "The patient, seen by Dr. Brown, did not have any   [vertigo] on   turning the head.",
        "Ultrasound of the neck did not show a discrete   [nodule] in either   lobe.",
        "Skin intact   no [rash]   Nails normal",
        "Alert   denies [photophobia]   Power 5/5",
        "Lungs clear   no   [wheeze]   Heart regular",
        "Chest: clear, no [rales]; Heart: regular",
        "ROS neg except cough: no [hemoptysis]",
        "Skin: no rashes, [lesions], or ulcers   Neuro: intact",
        "Patient states no [dizziness]   no falls",
        "COMPLICATIONS: none. No [bleeding] noted.",
        "REVIEW OF SYSTEMS: Denies [fevers], chills. CARDIAC: Denies chest pain.",
        "GI: Denies nausea, [vomiting], diarrhea.  GU: Denies dysuria.",
        "[DM] (n), HTN (y)",
        "[Diabetes]: N  HTN: Y",
        "[Bleeding] = none",
        "PERRL, EOMI, no [nystagmus]",
        "Neck supple without [lymphadenopathy] or thyromegaly",
        "No evidence for [ischemia].",
        "Not known to have [epilepsy]",
        "[Seizure activity] was not observed",
        "[Clubbing], cyanosis, edema: none",
        "no obvious\n   [deformity]",
        "Radiograph shows no\u00a0[fracture]",
        "[Hemoptysis] denied   Weight loss denied",
        "Infection screen: [MRSA] neg",
        "Smoker: no. [Asthma]: no. Allergies: penicillin",
        "Has she had [measles]? Never.",
        "1. No [retinal detachment]. 2. Cataract.",
        "• [Fever] \u2013 none • Cough \u2013 dry",
        "[Ketones] \u2013 negative",
        "There were no signs of [meningism]",
        "lack of [pain]",
        "[Suicidal ideation]: denies",
        "She does not have any [rash] or itching",
        "No c/o [pain]",
        "ABD: soft, NT/ND, no [masses]",
        "No change in vision, [floaters] or flashes.",
        "The stone is not consistent with [gout]",
        "He had no further episodes of [vomiting].",
        "[Diabetes]? No",
        "[diabetes]? no.",
        "Any [chest pain]? Denies   Any cough? Yes",
        "[Glaucoma] - No - Cataract - Yes",
        "Asthma: Yes   [Epilepsy]: No   Smoker: N",
        "No  [haemorrhage]",
        "There is no\nevidence of [fracture]",
        "no   evidence   of   [clot]",
        "no evidence\u00a0of [tumour]",
        "[Guarding] - nil   Bowel sounds present",
        "IMPRESSION: Cataract FINDINGS: no [oedema]",
        "• Cataract • no [retinopathy] • myopia",
        "Denies chest pain,  cough,  [fever].",
        "[Haemoptysis]? never",
        "Not in keeping with [meningitis].",
        "No new [lesions]   old scar stable",
        "Any history of [stroke]? No",
        "Family history of [glaucoma]? No",
        "No more [seizures] since June.",
        "[Nausea]: denies   Vomiting: denies",
        "Doesn\u2019t have [vertigo]",
        "ROS: no fever,\nchills or [rigors]",
        "[Pulmonary embolism]   was ruled out",
        "No fever, no  [cough]",
        "negative for  [melaena]",
        "No evidence of  acute  [infarct]",
        "There is no evidence of any\n[mass]",
        "There is no [mass],\neffusion or pneumothorax",
        "Patient denies any chest pain, shortness of breath, or\n[palpitations].",
        "Pt denies  chest pain,  SOB  or  [syncope]",
        "ROS: Negative for fever, [weight loss]",
        "Denies: [fever], chills",
        "Denies:\n- fever\n- [chills]",
        "Pertinent negatives: fever, [rash]",
        "[Fever]: No   Cough: No",
        "[Fever]: none",
        "[Fever]:no",
        "[Fever]?no",
        "[Fever] = no",
        "[Fever] (no)",
        "[Fever] - denies",
        "[Fever]   No   Cough   Yes",
        "Fever   Yes   [Cough]   No",
        "Any [falls]? None.",
        "Does he have [diabetes]? No.",
        "Is there [pain]? - No",
        "[Chest pain]? Denied.",
        "[Allergies]? none known",
        "[Diabetes]? No Asthma? Yes",
        "[Diabetes]? No, but impaired glucose tolerance",
        "[Diabetes] ? No",
        "PMHx: [diabetes]: no; hypertension: yes",
        "No change in weight, [appetite loss] or fatigue",
        "no recent change in vision, [diplopia]",
        "No changes in hearing, [tinnitus] or vertigo.",
        "Not compatible with [sarcoidosis]",
        "Findings are not consistent with acute [stroke]",
        "appearance is inconsistent with [melanoma]",
        "no further [bleeding]",
        "She has had no more episodes of [syncope].",
        "No recurrent [seizures].",
        "without further [vomiting]",
        "Had no subsequent [chest pain]",
        "never had [asthma]",
        "has never had a [stroke]",
        "Neither [fever] nor chills",
        "no sign of [infection] - wound clean",
        "Lungs clear - no [wheeze] - no creps",
        "•No [edema]",
        "- no [edema]",
        "*No [edema]",
        "1.No [edema]",
        "[Edema]: absent   Pulses: present",
        "[Edema] absent, pulses present",
        "[Hernia] - not seen",
        "no [DVT]/PE",
        "no DVT/[PE]",
        "no DVT or\u00a0[PE]",
        "WITHOUT EVIDENCE OF [ABSCESS]",
        "[NVD]: neg   NVE: neg",
        "Ruled out for [MI]",
        "[MI] ruled out",
        "She was not overly   [TEARFUL] at the   clinic.",
        "The limbs show   no bruising, swelling   or [DEFORMITY].",
        "There   is   no   [fracture]",
    ],
    "uncertain": [
        "IMPRESSION: 1. [Pneumonia] cannot be excluded. 2. Cardiomegaly.",
        "?[UTI]   urine sent",
        "Poss [fracture]   X-ray ordered",
        "DDx: viral vs [bacterial pharyngitis]",
        "Working diagnosis: [appendicitis]",
        "[Sepsis]??",
        "Concern for [compartment syndrome]",
        "Evaluate for [DVT]",
        "No rash   ?[measles]",
        "IMPRESSION: possible [pneumonia] PLAN: repeat film",
        "No fever - probable [viral illness] - fluids",
        "[Appendicitis]? CT booked",
        "Cannot  exclude  [lymphoma]",
        "Suspected\n[meningitis]",
        "[Pneumonia]?",
        "[Pneumonia]? Await film.",
        "? [PE]",
        "Query [PE]",
        "DDx:  [PE] vs MI",
        "Impression:  Likely [gout]",
        "may be consistent with [gout]",
        "Plan: CT to rule  out [stone]",
        "[MI] - to be ruled out",
        "No fever   Possible [cellulitis]",
        "cannot\nexclude [fracture]",
        "[Glaucoma] suspect   No cataract",
        "Findings suggestive of  [TB]",
    ],
    "historical": [
        "Mr Green has a past history of treated   [pneumonia] and of   gout.",
        "PMH: HTN, [stroke] 2009. PSH: none. MEDS: aspirin",
        "PAST MEDICAL HISTORY   HTN   [Gout]   MEDICATIONS   allopurinol",
        "Previous [miscarriage] x2   Currently 12/40",
        "[Appendicitis] in 1999",
        "remote history of [tuberculosis]",
        "history significant for [rheumatic fever]",
        "Past ocular history: [uveitis] 2015",
        "had [chickenpox] as a child",
        "Medical history significant for [diabetes]",
        "Past medical history notable for [stroke].",
        "PMH:   asthma   [DVT] 2011   Meds: none",
        "a past  history of [ulcers]",
        "status  post [stroke]",
        "Past Medical History   • [Hepatitis]   • Appendicitis",
        "Any previous [seizures]? Yes, as a student",
        "PMH:  [MI] 2010, CABG",
        "PMH significant for [hypertension]",
        "Past medical history is significant for [asthma] and gout",
        "past medical history: significant for [COPD]",
        "Past Medical History:\n1. [Asthma]\n2. Gout\n",
        "PAST MEDICAL HISTORY:  1) Asthma  2) [Gout]  3) DVT",
        "Past Medical History - [Gout], asthma",
        "Hx of  [PE]",
        "history  of  [PE]",
        "Previous\n[PE]",
        "s/p  [MI]",
        "Surgical history notable for [appendicitis]",
        "Any past [fits]? Yes",
        "[Measles] as a child   no sequelae",
        "Her medical history is remarkable for [migraine].",
        "history positive for [DVT]",
    ],
    "family": [
        "SH: smoker  FH: [MI] in father at 50  ROS: neg",
        "Mother - [hypertension], father - stroke",
        "Sister: [breast cancer]",
        "FAMILY HX: positive for [diabetes], negative for cancer",
        "Strong family history of [CAD]",
        "Fam Hx   [Asthma] in sister",
        "a family  history of [glaucoma]",
        "a family\nhistory of [glaucoma]",
        "Family\u00a0history: [breast cancer]",
        "FAMILY HISTORY - [stroke] in father",
        "No melaena   Mother had [colon cancer]",
        "Fam Hx   • [Diabetes]",
        "Family history:  [glaucoma]  Social: smoker",
        "FHx: [glaucoma]   PMH: none",
        "family history  positive for [glaucoma]",
        "mother  had  [glaucoma]",
        "Family history significant for [diabetes]",
        "Any family history of [glaucoma]? Yes",
        "FAMILY HISTORY:\n- [glaucoma]\n- diabetes",
        "Family History • [Stroke] • MI Social History • smoker",
        "[Glaucoma] in  mother",
        "[Glaucoma] - mother",
    ],
    "hypothetical": [
        "RTC prn or if [fever] > 101",
        "RTC if [redness], pain or loss of vision",
        "Pt advised to call for [increased pain], fever",
        "Instructed to go to ED with any [chest pain]",
        "Return sooner if new [flashes] or floaters",
        "Will consider biopsy if [lesion growth] seen",
        "Strict return precautions given for [worsening dyspnea]",
        "If he develops [stridor], give nebulised adrenaline",
        "Monitor for [bleeding]",
        "Zofran PRN [nausea]",
        "Loperamide as needed for [diarrhea]",
        "Safety-netted re [sepsis]",
        "Worsening advice: attend if [rash] spreads",
        "Call us if [redness] occurs",
        "Come back in case of [bleeding].",
        "Return precautions: [fever], worsening pain",
        "Watch for [jaundice].",
        "No infection. Return to the ED for [shortness of breath] or if worse",
        "ibuprofen as needed for [pain]",
        "Should [swelling] develop, call the clinic",
        "Seek care if you develop fever, chills or [vomiting]",
        "Call us if you notice [redness]",
        "If [redness] occurs, call us",
        "Return if [pain] or fever",
        "Return for [fever], worsening pain, or vomiting.",
        "Return to clinic if [vision loss]",
        "Please come back if there is any [bleeding]",
        "Call if any [swelling], redness or pus",
        "Tylenol prn [headache]",
        "Take paracetamol if needed for [pain]",
        "Use inhaler as needed for [wheeze]",
        "Patient was told to return should [fever] develop.",
        "Contact the clinic in the event of [bleeding]",
        "Go to the ER for [chest pain]",
        "Advised to watch  out  for [jaundice]",
        "seek medical attention for [dyspnoea]",
        "if  [redness]  occurs call",
        "• Return if:  • [fever]  • bleeding",
        "Call your doctor if you have: - [fever] - bleeding",
        "Return immediately if [numbness] develops",
        "In case of [bleeding], press on the wound",
    ],
}
EYES = [  # the graded eye, the text, the state
    ("right", "Right eye: *NVD*. Left eye: NVE.", "affirmed"),
    ("right", "Right eye: NVD. Left eye: *NVE*.", "other eye"),
    ("left", "Right eye: NVD. Left eye: *NVE*.", "affirmed"),
    ("left", "OD: NVD. Mild *haemorrhages*. OS: exudates.", "other eye"),
    ("right", "OD: NVD. Mild *haemorrhages*. OS: exudates.", "affirmed"),
    ("right", "*NVD* in the left eye and NVE in the right eye.", "other eye"),
    ("left", "*NVD* in the left eye and NVE in the right eye.", "affirmed"),
    ("right", "*NVD* OS, NVE OD", "other eye"),
    ("right", "No *NVD* in the right eye.", "negated"),
    ("left", "No *NVD* in the right eye.", "other eye"),
    ("left", "Bilateral *exudates*, NVD right eye.", "affirmed"),
    ("left", "Right eye: severe. Fellow eye: *NVD*.", "affirmed"),
    ("right", "Right eye: severe. Fellow eye: *NVD*.", "other eye"),
    ("", "The contralateral eye has *PDR*.", "other eye"),
    ("", "The left eye has *PDR*.", "affirmed"),
    ("right", "re: clinic visit, le patient: *NVD*", "affirmed"),
    ("right", "Left eye: clear. Mother had *glaucoma*.", "family"),
    ("right", "*NVD*: OS 2Q, OD nil.", "negated"),
    ("left", "*NVD*: OS 2Q, OD nil.", "affirmed"),
]


def state(marked, engine="negspacy", eye=""):
    """Return the state of the mention between two stars."""
    start, end = marked.index("*"), marked.rindex("*") - 1
    return context.states([marked.replace("*", "")], [[(start, end)]], engine, [eye])[0][0]


@pytest.mark.parametrize("want, marked", [(want, marked) for want, some in SAID.items() for marked in some])
def test_each_state(want, marked):
    assert state(marked) == want


@pytest.mark.parametrize("want, marked", [(want, marked) for want, some in NOTES.items() for marked in some])
def test_notes_of_one_line(want, marked):
    start, end = marked.index("["), marked.index("]") - 1
    assert context.states([marked.replace("[", "").replace("]", "")], [[(start, end)]]) == [[want]]


@pytest.mark.parametrize("eye, marked, want", EYES)
def test_the_other_eye(eye, marked, want):
    assert state(marked, eye=eye) == want


def test_a_heading_holds_until_its_section_ends():
    note = "PMH:\nAsthma\n\nToday *cough*."
    assert state(note) == "affirmed" and state(note.replace("\n\nToday", "\n")) == "historical"
    assert state("PMH: asthma. Medication: none. *Cough*.") == "affirmed"
    assert state("PMH: asthma. Presents with *cough*.") == "affirmed"


def test_the_baseline_and_where_it_fails():
    assert [state(some, "plain") for some in ("No *NVD*.", "*NVD*.", "Possible *NVD*.")] == [
        "negated",
        "affirmed",
        "uncertain",
    ]
    # it knows no end of a cue's reach, no pseudo-cue, and no cue after the mention
    failures = ["Denies pain but reports *cough*.", "No change in the *oedema*.", "*PE* was ruled out."]
    assert [state(marked, "plain") for marked in failures] == ["negated", "negated", "affirmed"]
    assert [state(marked) for marked in failures] == ["affirmed", "affirmed", "negated"]


def test_the_baseline_goes_by_the_eye_that_was_named_last():
    both = "Right eye: no NVE. LE: *NVD*."
    assert [state(both, "plain", eye) for eye in ("right", "left", "")] == ["other eye", "affirmed", "affirmed"]


def test_negspacy_alone_knows_negation_only():
    assert state("No *NVD*.", "negspacy alone") == "negated"
    assert state("Possible *NVD*.", "negspacy alone") == "affirmed"


def test_medspacy_where_it_is_installed():
    pytest.importorskip("medspacy")
    texts = ["No *NVD*.", "Possible *NVD*.", "History of *NVD*.", "Mother has *NVD*.", "*NVD*.", "Left eye: *NVD*."]
    assert [state(text, "medspacy", "right") for text in texts] == [*context.STATES[1:5], "affirmed", "other eye"]
    assert state("Return if *floaters* occur.", "medspacy") == "hypothetical"


@pytest.mark.parametrize(
    "engine, library, command", [("negspacy", "negspacy", "clinical"), ("medspacy", "medspacy", "make medspacy")]
)
def test_a_missing_library_is_named(engine, library, command, monkeypatch):
    builder = getattr(context, f"_{engine}")
    builder.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=command):
        context.states(["No NVD."], [[(3, 6)]], engine)
    assert context.states(["No NVD."], [[(3, 6)]], "plain") == [["negated"]]


@pytest.mark.parametrize("engine", ["plain", "negspacy"])
def test_any_text_gives_a_state_for_each_span(engine):
    odd = [
        "",
        " ",
        "\n\n",
        "未见出血。右眼: 微血管瘤(-)。",
        "No \ud83d NVD 🙂 \x00",
        "?:;.(",
        "x" * 5000,
        "OD OS OU: : :",
    ]
    spans = [[(0, 0), (0, 3), (-5, 2), (2, 1), (len(text) - 1, len(text) + 9), (0, len(text))] for text in odd]
    for eye in ("right", ""):
        found = context.states(odd, spans, engine, [eye] * len(odd))
        assert all(len(some) == 6 and set(some) <= set(context.STATES) for some in found)
    assert context.states([], [], engine) == [] and context.states(["No NVD."], [[]], engine) == [[]]
    assert context.states(["No NVD."], [[(0, 0)]], engine) == [["affirmed"]]


def test_overlapping_mentions_each_have_a_state():
    text = "No new vessels at the disc. Mild haemorrhages."
    spans = [(3, 26), (3, 14), (7, 14), (33, 45)]
    assert context.states([text], [spans]) == [["negated"] * 3 + ["affirmed"]]


def test_spans_in_any_order_are_cut_to_the_text_and_keep_their_places():
    text = "No NVD. Possible NVE. Old vit. haem, flat."
    spans = [(26, 35), (3, 6), (40, 400), (-9, 0), (17, 20), (6, 6)]
    states = ["historical", "negated", "historical", "affirmed", "uncertain", "affirmed"]
    assert context.states([text], [spans]) == [states]


def test_the_engine_with_its_own_cues_keeps_those_that_the_course_takes_out():
    theirs = {name: ["no", "rule out"] for name in context.NEGEX_NAMES.values()}
    with_ours, alone = (context._with_negspacys(theirs, added, context._file(None)) for added in (True, False))
    assert "rule out" in alone["negated"]["before"] and "rule out" not in with_ours["negated"]["before"]
    assert not any(alone["uncertain"].values()) and any(with_ours["uncertain"].values())


def test_of_a_very_long_note_only_a_piece_is_read_at_a_time(monkeypatch):
    read, real = [], context._read

    def of_clause(reader, mentions):
        read.append(len(mentions[0].clause))
        assert read[-1] <= 2000  # here, for the whole note would take minutes
        return real(reader, mentions)

    monkeypatch.setattr(context, "_read", of_clause)
    note = "no pain, mild fever " * 50_000 + "; no NVD"  # a million characters without a full stop
    spans = [(20 * 30_000 + 3, 20 * 30_000 + 7), (len(note) - 3, len(note))]
    assert context.states([note], [spans], eyes=["left"]) == [["negated"] * 2]
    assert len(read) == 2


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="no engine 'best'; choose one of plain, negspacy"):
        context.states(["No NVD."], [[(3, 6)]], "best")
    with pytest.raises(ValueError, match="2 texts, 1 lists of spans"):
        context.states(["a", "b"], [[]])
    with pytest.raises(ValueError, match="choose dev, test or notes"):
        context.mentions("train")


@pytest.mark.parametrize("space", ["  ", "   ", "\n", " \n", "\t", "\u00a0", "\u2003"])
@pytest.mark.parametrize(
    "state, cue", [("negated", "no evidence of"), ("family", "family history of"), ("historical", "status post")]
)
def test_white_space_in_a_cue_or_after_it_hides_nothing(state, cue, space):
    text = f"There is {cue} ".replace(" ", space) + "glaucoma."
    assert context.states([text], [[(text.index("glau"), len(text) - 1)]]) == [[state]]


def test_the_work_is_linear_in_the_text_and_in_its_mentions(monkeypatch):
    work = []
    real = context._read
    monkeypatch.setattr(context, "_read", lambda reader, some: work.append(len(some[0].clause)) or real(reader, some))

    def letters(times, every):
        """Return how many letters are read in a note of so many lines and of mentions in it, one in so many words."""
        words = ("no fever, mild cough, no rash, pain and chills. " * times).split()
        places = [sum(len(word) + 1 for word in words[:i]) for i in range(0, len(words), every)]
        work.clear()
        context.states([" ".join(words)], [[(place, place + 2) for place in places]])
        return sum(work)

    assert letters(40, 1) <= 1.1 * letters(40, 3)  # a clause is read once, however many mentions it has
    assert letters(80, 3) <= 2.1 * letters(40, 3)


HEAD = "state,role,cue\n"


def test_cues_of_your_own_take_the_place_of_the_course_s(tmp_path):
    own = tmp_path / "cues.csv"
    own.write_text(HEAD + "negated,before,kein|keine\nuncertain,after,fraglich\n", encoding="utf-8")
    text, spans = (
        "Keine Blutung, kein Ödem. Infarkt fraglich. Family history of gout.",
        [(6, 13), (20, 24), (26, 33), (62, 66)],
    )
    assert context.states([text], [spans], cues=own) == [["negated", "negated", "uncertain", "affirmed"]]
    assert context.cues("negated", "before", own) == ("kein", "keine")
    own.write_text(HEAD + "family,before,family history of\n", encoding="utf-8")  # a changed file is read again
    assert context.states([text], [spans], cues=str(own))[0][3] == "family"


@pytest.mark.parametrize(
    "rows, words",
    [
        ("state,cue\nnegated,no\n", "needs the columns state, role and cue"),
        (HEAD + "negated,before,no\nabsent,before,nil\n", "line 3: 'absent', 'before' is no state and role"),
        (HEAD + "negated,front,no\n", "line 2: 'negated', 'front' is no state and role"),
        (HEAD + "negated,before,|\n", "line 2: there is no cue"),
        (HEAD + "negated,before,\n", "line 2: there is no cue"),
        (HEAD + "negated,before,no\nuncertain,after,no\n", "line 3: 'no' stands for 'negated' already"),
        (HEAD + "negated,before\n", "line 2: there is no cue"),
    ],
)
def test_what_is_wrong_in_a_file_of_cues_is_named(rows, words, tmp_path):
    path = tmp_path / "cues.csv"
    path.write_text(rows, encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        context.states(["No NVD."], [[(3, 6)]], cues=path)
    with pytest.raises(FileNotFoundError, match=r"no file of cues .*none\.csv"):
        context.states(["No NVD."], [[(3, 6)]], cues=tmp_path / "none.csv")


def test_marks_stand_before_what_is_not_affirmed():
    text = "No NVD. MA. Old NVE. Mother had NVD."
    spans = [(3, 6), (8, 10), (16, 19), (32, 35)]
    marked = context.mark(text, spans, ["negated", "affirmed", "historical", "family"])
    assert marked == "No absent NVD. MA. Old past NVE. Mother had family NVD."
    for word in context.MARKS.values():
        marked = marked.replace(f"{word} ", "")
    assert marked == text
    assert context.mark("No NVD", [(3, 6), (3, 6)], ["negated"] * 2) == "No absent NVD"
    assert context.mark(text, spans, ["affirmed"] * 4) == text


def test_scores_count_each_state():
    truth = [["negated", "negated", "negated", "affirmed"], ["affirmed"]]
    found = [["negated", "affirmed", "affirmed", "negated"], ["affirmed"]]
    rows = {row["state"]: row for row in context.scores(truth, found)}
    assert [rows["negated"][key] for key in ("tp", "fp", "fn", "n")] == [1, 1, 2, 5]
    assert rows["negated"]["recall"][0] == pytest.approx(1 / 3)
    value, low, high = rows["negated"]["precision"]
    assert value == 0.5 and low < 0.1 and high > 0.9
    assert rows["family"]["precision"] is None and rows["family"]["recall"] is None


def test_the_cues_are_well_formed():
    roles = ("before", "after", "close before", "close after")
    spoken = [{cue for role in roles for cue in context.cues(state, role)} for state in context.BY_CUE]
    assert all(len(some) > 20 for some in spoken)
    for one, two in combinations(spoken, 2):
        assert not one & two  # a cue means one state
    # what is written before or after a mention has to reach it: no cue of another role may be lost by a misspelt one
    with (paths.samples() / "context_cues.csv").open(encoding="utf-8") as file:
        found = {line.split(",")[1] for line in file.read().splitlines()[1:]}
    assert found == {*roles, "pseudo", "end", "heading", "eye"}


def test_the_labelled_mentions_are_found_in_their_texts():
    dev = context.mentions("dev")
    assert len(dev.texts) > 100 and {state for (state,) in dev.states} == set(context.STATES) - {"hypothetical"}
    assert all(0 <= start < end <= len(text) for text, ((start, end),) in zip(dev.texts, dev.spans, strict=True))
    assert {eye for eye, (state,) in zip(dev.eyes, dev.states, strict=True) if state == "other eye"} == {
        "right",
        "left",
    }


def test_the_generators_mentions_are_where_they_should_be():
    made = context_runs.generated(60, seed=3)
    names = {name for some in context_runs.NAMES.values() for name in some}
    for text, spans in zip(made.texts, made.spans, strict=True):
        assert {text[start:end].lower() for start, end in spans} <= names
    assert made == context_runs.generated(60, seed=3)
    assert {len(some) for some in context_runs.drawn(made, seed=3).spans} == {1}

"""Controls on planted models: one that does not look at the picture is found out, one that looks is believed; and what goes with it."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from course_utils import metrics, pictures
from course_utils.pictures import Pairs

SIDE = 32


def planted(n=120, seed=0, eyes=2):
    """Pairs whose grade stands in the picture, as its brightness, and in the report; the left half is the brighter in a left eye."""
    random = np.random.default_rng(seed)
    grades = random.integers(0, 5, n)
    eye = np.array(["left", "right"])[np.arange(n) % 2]
    pixels = np.zeros((n, SIDE, SIDE, 3), np.uint8)
    pixels[:] = (40 * grades + 40)[:, None, None, None]
    for one, side in zip(pixels, eye, strict=True):
        one[:, : SIDE // 2] += 20 if side == "left" else 0
        one[:, SIDE // 2 :] += 20 if side == "right" else 0
    rows = {"eye": eye, "text": [f"seen {grade} marks" for grade in grades], "grade": grades}
    return Pairs(pixels, pd.DataFrame(rows | {"patient_id": [f"P{i // eyes}" for i in range(n)]}))


def of_picture(pairs):
    return np.clip((pairs.pixels.reshape(len(pairs), -1).mean(1) - 50) / 40, 0, 4).round().astype(int)


def of_report(pairs):
    return pairs.rows["text"].str.extract(r"seen (\d)")[0].astype(int).to_numpy()


def of_statement(pairs):
    found = pairs.rows["text"].str.extract(r"Conclusion: grade (\d)")[0]
    return found.fillna(0).astype(int).to_numpy()


def by_control(found):
    return {line.control: line for line in found}


# Does it look?


def test_a_model_that_does_not_look_at_the_picture_changes_no_answer_and_is_found_out():
    pairs = planted()
    found = by_control(pictures.look(of_report, pairs))
    for name in ("blank picture", "another eye's picture", "picture of the wrong side"):
        line = found[name]
        assert (line.verdict, line.changed, line.right) == ("not used", 0, len(pairs))
        assert line.score.value == line.blind == found["as they are"].score.value
    assert found["another eye's report"].verdict == "used" and found["another eye's report"].changed > 60


def test_a_model_that_looks_at_the_picture_alone_is_believed():
    found = by_control(pictures.look(of_picture, planted()))
    assert found["as they are"].right == 120
    assert found["another eye's picture"].verdict == found["blank picture"].verdict == "used"
    assert found["another eye's report"].verdict == found["report states a wrong grade"].verdict == "not used"


def test_the_grade_has_no_side_so_a_mirrored_picture_shows_nothing_of_a_grader():
    found = by_control(pictures.look(of_picture, planted()))
    assert found["picture of the wrong side"].verdict == "not used"


def test_a_model_that_believes_a_stated_grade_is_found_out():
    pairs = planted()
    stated = pictures.stating(pairs, pairs.grades)
    found = by_control(pictures.look(of_statement, stated))
    assert found["as they are"].right == len(pairs)
    assert found["report states a wrong grade"].right == 0 and found["report states a wrong grade"].verdict == "used"
    assert found["another eye's picture"].verdict == "not used"


def test_answers_that_change_by_luck_alone_are_not_called_used():
    random = np.random.default_rng(1)

    def by_luck(pairs):
        return random.integers(0, 5, len(pairs))

    line = by_control(pictures.look(by_luck, planted()))["another eye's picture"]
    assert line.changed > 0 and line.verdict == "not shown"


def test_a_model_with_too_few_answers_is_refused():
    with pytest.raises(ValueError, match="one each is needed"):
        pictures.look(lambda pairs: [0, 1], planted())


def fits(pairs):
    return -abs(of_picture(pairs) - of_report(pairs)).astype(float)


def fits_with_side(pairs):
    left = pairs.pixels[:, :, : SIDE // 2].mean((1, 2, 3)) > pairs.pixels[:, :, SIDE // 2 :].mean((1, 2, 3))
    return fits(pairs) + (left == (pairs.rows["eye"] == "left").to_numpy())


def test_a_matcher_that_does_not_look_wins_half():
    for line in pictures.prefer(lambda pairs: pairs.rows["text"].str.len().to_numpy(), planted()):
        assert line.won == line.n / 2 and line.verdict == "not used"


def test_a_matcher_that_looks_prefers_the_own_picture_and_only_one_with_sides_the_unmirrored():
    plain, sided = ({line.control: line for line in pictures.prefer(one, planted())} for one in (fits, fits_with_side))
    assert plain["another eye's picture"].verdict == sided["another eye's picture"].verdict == "prefers its own"
    assert plain["picture of the wrong side"].verdict == "not used"
    assert sided["picture of the wrong side"].won == 120
    turned = {line.control: line for line in pictures.prefer(lambda pairs: -fits(pairs), planted())}
    assert turned["another eye's picture"].verdict == "prefers the other"


def test_a_matcher_by_luck_is_not_said_to_prefer_and_each_look_more_widens_the_intervals():
    luck, pairs = np.random.default_rng(3), planted(400)
    assert {line.verdict for line in pictures.prefer(lambda some: luck.normal(size=len(some)), pairs)} == {"not shown"}
    values = np.arange(400) % 3 == 0
    one, four = (pictures.mean_over_patients(values, pairs.patients, looks=looks) for looks in (1, 4))
    assert four.low < one.low < one.value == four.value < one.high < four.high


def test_a_share_at_its_edge_is_wilson_s_and_a_difference_can_fall():
    patients = [f"P{i}" for i in range(5)]
    assert pictures.mean_over_patients([1] * 5, patients) == pytest.approx((1, *metrics.wilson(5, 5)))
    assert pictures.mean_over_patients([0] * 5, patients) == pytest.approx((0, *metrics.wilson(0, 5)))
    fell = pictures.mean_over_patients([-1] * 5, patients)
    assert (fell.value, fell.low) == (-1, -1) and -0.5 < fell.high < 0


def test_a_model_that_gives_nan_is_refused():
    with pytest.raises(ValueError, match="for 3 of 120 pairs"):
        pictures.prefer(lambda some: np.where(np.arange(len(some)) < 3, np.nan, 1.0), planted())


# What a control changes.


def test_controls_leave_the_truth_and_the_other_side_and_the_pairs_they_are_given():
    pairs = planted()
    before = pairs.pixels.copy(), pairs.rows.copy()
    for name, control in pictures.CONTROLS.items():
        changed = control(pairs, 3)
        assert (changed.grades == pairs.grades).all() and (changed.patients == pairs.patients).all()
        same_pixels, same_texts = (
            (changed.pixels == pairs.pixels).all(),
            changed.rows["text"].equals(pairs.rows["text"]),
        )
        assert (same_pixels, same_texts) == ((True, False) if pictures.SIDE[name] == "report" else (False, True))
    assert (pairs.pixels == before[0]).all() and pairs.rows.equals(before[1])


@pytest.mark.parametrize("eyes", [1, 2, 5])
@pytest.mark.parametrize("alike", [(), ("eye",)])
def test_another_patient_s_is_each_used_once_and_never_the_own(eyes, alike):
    pairs = planted(60, eyes=eyes)
    for seed in range(5):
        found = pictures.others(pairs, seed, alike)
        assert sorted(found) == list(range(60)) and (pairs.patients[found] != pairs.patients).all()
        for name in alike:
            assert (pairs.rows[name].to_numpy()[found] == pairs.rows[name].to_numpy()).all()
    assert (pictures.others(pairs, 0) != pictures.others(pairs, 1)).any()


def test_a_patient_with_more_than_half_has_no_other_for_each():
    with pytest.raises(ValueError, match="no other for each.*Add pairs of other patients"):
        pictures.others(planted(6, eyes=4))


def test_two_agree_in_a_column_with_gaps_and_one_that_is_not_there_is_said():
    pairs = planted(40)
    site = np.where(np.arange(40) < 20, "north", None)
    gaps = Pairs(pairs.pixels, pairs.rows.assign(site=site))
    found = pictures.others(gaps, 0, ["site"])
    assert sorted(found) == list(range(40)) and (site[found] == site).all()
    with pytest.raises(ValueError, match='no column "site"'):
        pictures.others(pairs, 0, ["site"])


def test_a_stated_grade_takes_the_place_of_the_one_before_and_the_wrong_one_is_never_true():
    pairs = planted(30)
    once_stated = pictures.stating(pairs, pairs.grades)
    again = pictures.stating(once_stated, [4] * 30)
    assert again.rows["text"].str.count("Conclusion").eq(1).all() and again.rows["text"].str.endswith("grade 4.").all()
    wrong = of_statement(pictures.wrongly_stated(once_stated, 0))
    assert (wrong != pairs.grades).all() and len(set(wrong)) > 1
    with pytest.raises(ValueError, match="one grade"):
        pictures.wrongly_stated(pairs.take(pairs.grades == 1), 0)


# Flags.


def test_a_flag_finds_planted_pictures_and_a_score_that_does_not_look_finds_none():
    pairs = planted(400)
    swapped, wrong = pictures.misfiled(pairs, 0.2)
    assert wrong.sum() == 80 and (swapped.pixels[~wrong] == pairs.pixels[~wrong]).all()
    really = of_picture(swapped) != of_report(swapped)
    found = pictures.flags(fits, swapped, wrong, threshold=-0.5)
    assert found.sensitivity.value == pytest.approx(really[wrong].mean()) and found.specificity.value == 1
    assert found.precise == 1 and found.area > 0.8
    blind = pictures.flags(lambda some: np.zeros(len(some)), swapped, wrong, threshold=-0.5)
    assert blind.sensitivity.value == 0 and blind.area == 0.5 and np.isnan(blind.precise)


def test_the_area_is_the_chance_that_a_wrong_pair_scores_below_a_right_one():
    pairs = planted(4, eyes=1)
    scores, wrong = np.array([1.0, 2.0, 3.0, 2.0]), np.array([True, False, True, False])
    assert pictures.flags(lambda _: scores, pairs, wrong, 1.5).area == pytest.approx(2 / 4)


@pytest.mark.parametrize(
    ("share", "said"), [(0, "between 0 and 1"), (1.5, "between 0 and 1"), (0.01, "nobody to swap")]
)
def test_a_share_that_can_t_be_planted_is_refused(share, said):
    with pytest.raises(ValueError, match=said):
        pictures.misfiled(planted(40), share)


# Retrieval and the loss.


def test_three_that_look_alike_are_a_guess_among_three_and_a_right_match_costs_nothing():
    alike = F.normalize(torch.ones(3, 8), dim=1)
    assert pictures.contrastive(alike, alike, torch.tensor(0.0)).item() == pytest.approx(np.log(3))
    assert pictures.contrastive(torch.eye(3), torch.eye(3), torch.tensor(4.0)).item() < 1e-6


def test_found_first_counts_by_hand_and_a_tie_is_no_hit():
    texts = np.eye(4, dtype=np.float32)
    assert pictures.found_first(texts, texts, gallery=4).all()
    assert not pictures.found_first(np.ones((4, 4)), texts, gallery=4).any()
    assert pictures.found_first(texts[[1, 0, 2, 3]], texts, gallery=4).sum() == 2
    with pytest.raises(ValueError, match="smaller one"):
        pictures.found_first(texts, texts, gallery=5)


def test_pairs_of_one_kind_are_not_held_against_each_other():
    alike, scale = F.normalize(torch.ones(4, 8), dim=1), torch.tensor(0.0)
    for kinds, guesses in (
        ([0, 1, 2, 3], 4),
        ([5, 5, 5, 5], 1),
        ([0, 0, 1, 1], 3),
    ):  # the own one, and those of other kinds
        loss = pictures.contrastive(alike, alike, scale, torch.tensor(kinds))
        assert loss.item() == pytest.approx(np.log(guesses), abs=1e-6)


def test_projections_are_trained_with_kinds_and_without_as_if_each_pair_had_its_own():
    random = np.random.default_rng(0)
    seen, said = (random.normal(size=(60, d)).astype(np.float32) for d in (4, 5))
    plain, own, one = (
        pictures.project(seen, said, batch_size=20, epochs=1, kinds=kinds)
        for kinds in (None, np.arange(60), np.zeros(60, int))
    )
    assert plain[1].losses == own[1].losses and torch.equal(plain[0].image.weight, own[0].image.weight)
    assert one[1].losses == [0.0] * 3


def test_projections_match_what_can_be_matched_and_not_what_was_shuffled():
    random = np.random.default_rng(0)
    truth = random.normal(size=(400, 6))
    seen, said = (truth @ random.normal(size=(6, d)) for d in (20, 30))
    seen, said = seen.astype(np.float32), said.astype(np.float32)
    good, went = pictures.project(seen[:300], said[:300], batch_size=50, epochs=20)
    bad, also = pictures.project(seen[:300], said[random.permutation(300)], batch_size=50, epochs=20)
    right, by_luck = (
        pictures.found_first(*pictures.projected(one, seen[300:], said[300:])).mean() for one in (good, bad)
    )
    assert right > 0.5 > 0.1 > by_luck
    assert went.losses[-1] < went.losses[0] and also.losses[-1] < also.losses[0]
    again, _ = pictures.project(seen[:300], said[:300], batch_size=50, epochs=20)
    assert torch.equal(good.image.weight, again.image.weight)


def test_the_library_s_two_towers_have_the_same_loss_and_only_what_is_meant_trains():
    net = pictures.tower(0, size=SIDE)
    shape = BertConfig(vocab_size=50, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24)
    text = BertModel(shape).eval()
    ids, pixels = torch.randint(1, 50, (6, 7)), pictures.floats(planted(6).pixels)
    first = text(input_ids=ids).last_hidden_state[:, 0].detach()
    dual = pictures.dual_encoder(net, text, width=16)
    both = pictures.Projections(128, 24, width=16)
    with torch.no_grad():
        dual.visual_projection.weight.copy_(both.image.weight)
        dual.text_projection.weight.copy_(both.text.weight)
        theirs = dual(input_ids=ids, pixel_values=pixels, return_loss=True).loss
        mine = pictures.contrastive(*both(torch.tensor(pictures.vectors(net, planted(6).pixels)), first), both.scale)
    assert theirs.item() == pytest.approx(mine.item(), abs=1e-5)
    moving = {name for name, p in dual.named_parameters() if p.requires_grad}
    assert moving == {"logit_scale", "visual_projection.weight", "text_projection.weight"}


# The tower.


def test_a_tower_learns_is_saved_and_loaded_and_belongs_to_its_seed(tmp_path):
    pairs = planted(64)
    net = pictures.tower(0, size=SIDE)
    before = pictures.vectors(net, pairs.pixels)
    assert before.shape == (64, 128) and np.array_equal(
        before, pictures.vectors(pictures.tower(0, size=SIDE), pairs.pixels)
    )
    head, went = pictures.teach(net, pairs.pixels, torch.tensor(pairs.grades), epochs=12, seed=0, lr=3e-3)
    found = pictures.vectors(net, pairs.pixels)
    assert (head(torch.tensor(found)).argmax(1).numpy() == pairs.grades).mean() > 0.6 and 0 < went.fed < 1
    net.save_pretrained(tmp_path)
    assert np.array_equal(pictures.vectors(pictures.Tower.from_pretrained(tmp_path), pairs.pixels), found)
    assert not list(tmp_path.glob("*.bin"))


@pytest.mark.parametrize("size", [16, 50])
def test_a_size_that_can_t_be_halved_is_refused(size):
    with pytest.raises(ValueError, match="halves a picture"):
        pictures.tower(0, size=size)


def test_pictures_that_were_scaled_before_are_refused():
    with pytest.raises(ValueError, match="scaled before"):
        pictures.floats(planted(4).pixels / 255)
    scaled = pictures.floats(np.full((1, SIDE, SIDE, 3), 255, np.uint8))
    assert scaled.shape == (1, 3, SIDE, SIDE) and scaled.max() == scaled.min() == 2


def test_what_is_remembered_is_worked_out_once_and_in_its_order():
    asked = []

    def encode(things):
        asked.extend(things)
        return np.array([[len(thing)] for thing in things])

    read = pictures.once(encode)
    assert read(["aa", "b", "aa"]).tolist() == [[2], [1], [2]] and read(["b", "ccc"]).tolist() == [[1], [3]]
    assert asked == ["aa", "b", "ccc"]


def test_nothing_to_train_and_too_few_rows_are_said():
    frozen = torch.nn.Linear(1, 1).requires_grad_(False)
    with pytest.raises(ValueError, match="Every weight is frozen"):
        pictures.train(frozen, lambda rows: rows, lambda _: torch.tensor(0.0), 64, epochs=1, lr=1e-3)
    with pytest.raises(ValueError, match="smaller batch_size"):
        pictures.project(np.ones((4, 2), np.float32), np.ones((4, 2), np.float32))


# A reader's own files.


@pytest.fixture
def mine(tmp_path):
    pairs = planted(4)
    for i, one in enumerate(pairs.pixels):
        Image.fromarray(one).save(tmp_path / f"{i}.png")
    table = pairs.rows.assign(picture=[f"{i}.png" for i in range(4)])
    table.to_csv(tmp_path / "mine.csv", index=False)
    return tmp_path, table, pairs


def test_a_folder_and_a_csv_are_read_as_they_are(mine):
    folder, _, pairs = mine
    found = pictures.read(folder, folder / "mine.csv", patient="patient_id", eye="eye", size=SIDE)
    assert np.array_equal(found.pixels, pairs.pixels) and found.reports == pairs.reports
    assert (found.grades == pairs.grades).all() and (found.patients == pairs.patients).all()
    unasked = pictures.read(folder, folder / "mine.csv", size=SIDE)
    assert unasked.reports == pairs.reports and (unasked.patients == pairs.patients).all()


def test_without_a_patient_each_row_is_one_and_other_columns_stay(mine, capsys):
    folder, table, _ = mine
    table.drop(columns=["patient_id", "eye"]).assign(site="north").to_csv(folder / "mine.csv", index=False, sep=";")
    alone = pictures.read(folder, folder / "mine.csv", size=64)
    assert alone.pixels.shape == (4, 64, 64, 3) and len(set(alone.patients)) == 4 and set(alone.rows["eye"]) == {""}
    assert set(alone.rows["site"]) == {"north"} and "semicolons" in capsys.readouterr().out


def test_a_picture_of_16_bits_is_refused_for_it_would_be_cut_off(mine):
    folder, _, _ = mine
    Image.fromarray(np.full((SIDE, SIDE), 4000, np.uint16)).save(folder / "1.png")
    with pytest.raises(ValueError, match="line 3: 1.png .*more than 8 bits"):
        pictures.read(folder, folder / "mine.csv")


def test_a_wide_picture_is_not_stretched(mine):
    folder, _, _ = mine
    Image.fromarray(np.full((10, 40, 3), 200, np.uint8)).save(folder / "0.png")
    found = pictures.read(folder, folder / "mine.csv", size=SIDE).pixels[0]
    assert (found[:6] == 0).all() and (found[14:18] == 200).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"picture": ["lost.png", "1.png", "2.png", "3.png"]}, "line 2: there is no file lost.png"),
        ({"text": ["seen", " ", "seen", "seen"]}, "line 3: the report is empty"),
        ({"grade": ["0", "1", "two", "3"]}, 'line 4: the grade "two" is no whole number'),
        ({"grade": ["-1", "-1", "-1", "-1"]}, "And 1 more"),
        ({"picture": ["", "1.png", "2.png", "3.png"]}, "line 2: no picture is named"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(mine, change, said):
    folder, table, _ = mine
    table.assign(**change).to_csv(folder / "mine.csv", index=False)
    with pytest.raises(ValueError) as error:
        pictures.read(folder, folder / "mine.csv")
    assert said.lower() in str(error.value).lower()


def test_a_file_that_is_no_picture_a_missing_column_and_a_missing_folder_are_said(mine):
    folder, _, _ = mine
    with pytest.raises(ValueError, match='no column "image"'):
        pictures.read(folder, folder / "mine.csv", picture="image")
    with pytest.raises(FileNotFoundError, match="no folder"):
        pictures.read(folder / "nowhere", folder / "mine.csv")
    (folder / "2.png").write_text("no picture", encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 4: 2.png is no picture that can be read"):
        pictures.read(folder, folder / "mine.csv")


def test_pairs_that_do_not_go_together_are_refused():
    pairs = planted(4)
    with pytest.raises(ValueError, match="each picture needs its row"):
        Pairs(pairs.pixels[:3], pairs.rows)
    with pytest.raises(ValueError, match="uint8"):
        Pairs(pairs.pixels / 255, pairs.rows)
    with pytest.raises(ValueError, match='lack the column "eye"'):
        Pairs(pairs.pixels, pairs.rows.drop(columns="eye"))


# The course's own.


@pytest.fixture
def second():
    return pd.read_csv(pictures.paths.samples() / "dr_reports.csv", nrows=12, dtype=str).astype({"grade": int})


def test_the_course_s_pictures_are_drawn_from_the_facts_and_another_camera_takes_the_same_eye(second):
    rows = pictures.facts(second)
    pairs = pictures.drawn(rows)
    assert np.array_equal(pairs.pixels[0], pictures.fundus.picture(rows.iloc[0].to_dict()))
    one, two = (pictures.drawn(rows, camera).pixels for camera in ("one", "two"))
    assert (one != two).any(axis=(1, 2, 3)).all()
    lessons = pictures.taught(rows)
    assert lessons.shape == (12, 36) and lessons[:, -1].tolist() == [float(eye == "left") for eye in rows["eye"]]
    assert lessons[0, :8].tolist() == [0, 1, 0, 1, 1, 0, 1, 1] and lessons[0, -6] == 1  # MA 24;IRH 134;heavy


def test_a_row_without_a_picture_is_said(second, monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="no picture"):
        pictures.facts(second.assign(report_id="X"))
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="make pictures"):
        pictures.facts(second)


def test_another_camera_s_colours_become_those_that_are_wanted():
    random = np.random.default_rng(0)
    wanted = random.integers(80, 120, (20, SIDE, SIDE, 3)).astype(np.uint8)
    tinted = (wanted * [0.5, 1.0, 1.5] + [30, 0, 10]).astype(np.uint8)
    found = pictures.recoloured(tinted, tinted, wanted)
    assert abs(found.astype(int) - wanted).max() <= 2 and abs(tinted.astype(int) - wanted).max() > 20


def test_a_believer_follows_a_stated_grade():
    pairs = planted(200)
    grade = pictures.believer(lambda pixels: np.zeros((len(pixels), 1)), pairs)
    assert (grade(pictures.stating(pairs, pairs.grades)) == pairs.grades).all()
    blind = Pairs(pairs.pixels, pairs.rows.assign(text="marks"))
    assert (grade(pictures.stating(blind, [3] * 200)) == 3).all()


def test_baselines_see_colour_and_detail():
    plain = np.full((2, SIDE, SIDE, 3), (10, 20, 30), np.uint8)
    noisy = np.random.default_rng(0).integers(0, 255, plain.shape).astype(np.uint8)
    assert pictures.colours(plain)[0] == pytest.approx([10 / 255, 20 / 255, 30 / 255, 0, 0, 0])
    assert (pictures.file_sizes(noisy) > pictures.file_sizes(plain)).all()

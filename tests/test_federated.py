"""Training at several sites: the mean, its rivals, what goes wrong on the way, and what leaks, each against a case worked out by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

import small_models
from course_utils import adapt, federated, models, training
from course_utils.federated import Update

needs_opacus = pytest.mark.skipif(not federated.has_privacy(), reason="the extra `federated` is not installed")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return small_models.bert(tmp_path_factory.mktemp("bert"))


def rows(n, seed=0, name="north"):
    random = np.random.default_rng(seed)
    grades = random.integers(0, 5, n)
    texts = ["seen . " * int(random.integers(0, 5)) + small_models.PHRASES[grade] for grade in grades]
    return pd.DataFrame({"site": name, "patient_id": range(n), "eye": "left", "text": texts, "grade": grades})


def grader(checkpoint, method="LoRA"):
    model, tokenizer = models.grader(checkpoint, seed=0)
    model.config.hidden_dropout_prob = 0.0
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    torch.manual_seed(0)
    return adapt.prepare(model, method), tokenizer


def sites(tokenizer, *sizes):
    return [federated.site(f"site {k}", tokenizer, rows(n, seed=k)) for k, n in enumerate(sizes)]


def same(one, other, tolerance=0.0):
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one) <= tolerance


# Drawing sites.


def test_a_draw_is_of_the_sites_own_rows_and_a_smaller_one_is_part_of_it():
    every = pd.concat([rows(40, 1, "north"), rows(40, 2, "delta")], ignore_index=True)
    large, small = (federated.draw(every, {"north": n, "delta": n}, seed=3) for n in (20, 8))
    for name in ("north", "delta"):
        assert len(large[name]) == 20 and set(large[name]["site"]) == {name}
        assert list(small[name].index) == list(large[name].index)[:8]
    assert list(large["north"].index) != list(federated.draw(every, {"north": 20}, seed=4)["north"].index)


def test_a_drawn_skew_leaves_grades_out_and_says_if_too_few_are_left():
    drawn = federated.draw(rows(60), {"north": 20}, without={"north": {3, 4}})["north"]
    assert set(drawn["grade"]) == {0, 1, 2}
    with pytest.raises(ValueError, match='The site "north" has .* 60 are wanted'):
        federated.draw(rows(60), {"north": 60}, without={"north": {3, 4}})


def test_a_file_of_another_make_is_refused_with_the_row(checkpoint):
    tokenizer = grader(checkpoint)[1]
    for wrong in (5, "3", float("nan"), 1.5):
        with pytest.raises(ValueError, match=f"Row 2 of ours has grade = .*{wrong}.*, and 1 row.*from 0 to 4"):
            federated.site("ours", tokenizer, rows(4).assign(grade=[0, 1, wrong, 2]))
    with pytest.raises(ValueError, match='The rows of ours have no column "grade". They have: .*text'):
        federated.site("ours", tokenizer, rows(4).drop(columns="grade"))


# Training.


def test_rates_rise_then_fall_over_all_rounds():
    found = federated.rates(0.5, 20)
    assert len(found) == 20 and max(found) == pytest.approx(0.5)
    assert found[0] == pytest.approx(0.25) and found[1] == pytest.approx(0.5) and found[-1] < 0.05


def test_a_site_alone_trains_as_the_courses_own_loop_does(checkpoint):
    model, tokenizer = grader(checkpoint)
    own, tokenizer = grader(checkpoint)
    at = federated.site("one", tokenizer, rows(64))
    log = training.fit_grader(model, tokenizer, rows(64), epochs=3, lr=1e-2, seed=5, bar=False)
    losses = federated.train(own, tokenizer, at, federated.rates(1e-2, 6), seed=5)
    assert losses == pytest.approx(log["losses"], abs=1e-6)
    assert same(federated.trained(own), federated.trained(model), 1e-5)


def test_one_site_and_one_round_is_ordinary_training(checkpoint):
    model, tokenizer = grader(checkpoint)
    other, _ = grader(checkpoint)
    (at,) = sites(tokenizer, 64)
    federated.average(model, tokenizer, [at], each_rate=federated.rates(1e-2, 4), rounds=1, seed=2)
    federated.train(other, tokenizer, at, federated.rates(1e-2, 4), federated.of_round(2, 0))
    assert same(federated.trained(model), federated.trained(other))


def test_one_plain_step_at_each_site_is_one_step_on_all_reports(checkpoint):
    """The mean with the weight of the reports is what makes it so; the plain mean is another step."""
    together, tokenizer = grader(checkpoint, "head alone")
    two = sites(tokenizer, 24, 8)
    both = federated.Site("both", two[0].reports + two[1].reports, torch.cat([one.grades for one in two]))
    plain = {"batch_size": 32, "optimizer": torch.optim.SGD}
    federated.train(together, tokenizer, both, [0.1], 0, **plain)

    def averaged(combine):
        model, _ = grader(checkpoint, "head alone")
        federated.average(
            model,
            tokenizer,
            two,
            each_rate=[0.1],
            rounds=1,
            combine=combine,
            at_site=lambda *arguments: federated.train(*arguments, **plain),
        )
        return federated.trained(model)

    want = federated.trained(together)
    assert same(averaged(federated.mean), want, 1e-6)
    assert not same(averaged(federated.trimmed(0)), want, 1e-6)


def test_a_round_can_be_done_again(checkpoint):
    model, tokenizer = grader(checkpoint)
    some, each = sites(tokenizer, 40, 40), federated.rates(1e-2, 6)
    history = federated.average(model, tokenizer, some, each_rate=each, rounds=3, seed=1)
    again, _ = grader(checkpoint)
    federated.put(again, history[1])  # all that a site that was killed after round 1 is sent
    updates = []
    for one in some:
        federated.put(again, history[1])
        federated.train(again, tokenizer, one, each[4:], federated.of_round(1, 2))
        updates.append(Update(one.name, federated.trained(again), len(one)))
    assert same(federated.mean({}, updates), history[2])


def test_a_round_can_be_done_again_where_there_is_dropout(checkpoint):
    """Another process has drawn other numbers before it: the seed of the round must decide what is left out."""

    def trained(drawn_before):
        model, tokenizer = models.grader(checkpoint, seed=0)
        for part in model.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.5
        model = adapt.prepare(model, "head alone")
        (at,) = sites(tokenizer, 32)
        torch.rand(drawn_before)
        federated.train(model, tokenizer, at, [1e-2] * 2, seed=3)
        return federated.trained(model)

    assert same(trained(1), trained(5))


def test_rounds_must_divide_the_steps_and_something_must_train(checkpoint):
    model, tokenizer = grader(checkpoint)
    (at,) = sites(tokenizer, 8)
    with pytest.raises(ValueError, match="7 steps can't be divided evenly among 2 rounds"):
        federated.average(model, tokenizer, [at], each_rate=[1e-3] * 7, rounds=2)
    broken, _ = grader(checkpoint)
    torch.nn.init.constant_(next(p for p in broken.parameters() if p.requires_grad), float("nan"))
    with pytest.raises(ValueError, match="The loss at site 0 is nan. Try a lower learning rate"):
        federated.train(broken, tokenizer, at, [1e-3], 0)
    with pytest.raises(ValueError, match="Every weight is frozen"):
        federated.train(model.requires_grad_(False), tokenizer, at, [1e-3], 0)


def test_the_proximal_term_holds_weights_where_they_were(checkpoint):
    def moved(proximal):
        model, tokenizer = grader(checkpoint)
        (at,) = sites(tokenizer, 32)
        before = federated.trained(model)
        federated.train(model, tokenizer, at, [1e-2] * 6, 0, proximal=proximal)
        return sum(float((one - before[name]).norm()) for name, one in federated.trained(model).items())

    assert moved(100.0) < 0.6 * moved(0.0)


# What is sent.


def test_bytes_are_four_a_number_and_a_file_also_names_them(checkpoint):
    model, _ = grader(checkpoint)
    weights = federated.trained(model)
    assert federated.size(weights) == 4 * models.count_parameters(model)[0]
    assert federated.size(weights) < federated.file_size(weights) < federated.size(weights) + 200 * len(weights)


def test_weights_of_another_model_are_refused(checkpoint):
    model, _ = grader(checkpoint)
    other, _ = grader(checkpoint, "head alone")
    with pytest.raises(ValueError, match="on one side alone"):
        federated.put(model, federated.trained(other))


def test_weights_come_back_from_one_row_of_numbers(checkpoint):
    model, _ = grader(checkpoint)
    weights = federated.trained(model)
    row = federated.flat(weights)
    assert row.dtype == np.float32 and 4 * len(row) == federated.size(weights)
    assert same(federated.unflat(row, weights), weights)
    shuffled = dict(reversed(weights.items()))
    assert (federated.flat(shuffled) == row).all(), "the order of the names does not matter"
    with pytest.raises(ValueError, match="the other side has another model"):
        federated.unflat(row[:-1], weights)


# What is made of it.


def updates(*values, reports=(1, 1, 1, 1)):
    return [
        Update(str(k), {"w": torch.tensor(value)}, n) for k, (value, n) in enumerate(zip(values, reports, strict=False))
    ]


def test_the_mean_counts_reports():
    assert federated.mean({}, updates([0.0, 4.0], [8.0, 0.0], reports=(3, 1)))["w"].tolist() == [2.0, 3.0]
    with pytest.raises(ValueError, match="No update has come"):
        federated.mean({}, [])


def test_the_median_and_the_trimmed_mean_forget_one_liar_and_a_fifth_of_four_is_nobody():
    three = updates([1.0], [2.0], [1e6])
    assert federated.median({}, three)["w"].tolist() == [2.0]
    assert federated.trimmed(0.34)({}, three)["w"].tolist() == [2.0]
    four = updates([1.0], [2.0], [3.0], [1e6])
    assert federated.trimmed(0.25)({}, four)["w"].tolist() == [2.5]
    assert federated.trimmed(0.2)({}, four)["w"].tolist() == [pytest.approx((6 + 1e6) / 4)]
    with pytest.raises(ValueError, match="0.5 of the updates"):
        federated.trimmed(0.5)


def lora_updates(rank=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [
        Update(
            str(k),
            {"x.lora_A.d": torch.randn(rank, 6, generator=g), "x.lora_B.d": torch.randn(5, rank, generator=g)},
            n,
        )
        for k, n in enumerate((3, 1))
    ]


def product(weights):
    return weights["x.lora_B.d"] @ weights["x.lora_A.d"]


def test_the_mean_of_factors_is_not_the_mean_of_products_and_the_repair_is_the_nearest():
    some = lora_updates()
    right = sum(share * product(one.weights) for share, one in zip((0.75, 0.25), some, strict=True))
    plain, mended = federated.mean({}, some), federated.mean_of_products({}, some)
    assert mended["x.lora_A.d"].shape == (2, 6) and mended["x.lora_B.d"].shape == (5, 2)
    cut = torch.linalg.svdvals(right)[2:].norm()  # what no product of rank 2 can hold
    assert (product(mended) - right).norm() == pytest.approx(float(cut), abs=1e-5)
    assert (product(plain) - right).norm() > 1.2 * cut


def test_with_one_a_for_all_the_two_means_are_one(checkpoint):
    some = lora_updates()
    some[1].weights["x.lora_A.d"] = some[0].weights["x.lora_A.d"]
    right = sum(share * product(one.weights) for share, one in zip((0.75, 0.25), some, strict=True))
    assert torch.allclose(product(federated.mean({}, some)), right, atol=1e-6)
    model, _ = grader(checkpoint)
    federated.freeze_first(model)
    names = federated.trained(model)
    assert names and not [name for name in names if federated.A in name] and [n for n in names if federated.B in n]


def test_the_adaptive_server_takes_adams_step_of_the_mean_change():
    old = {"w": torch.tensor([1.0])}
    server = federated.AdamServer(0.1, betas=(0.5, 0.5), tau=1e-3)
    first = server(old, updates([3.0]))["w"].item()  # change 2: means 1 and (0.5 * 1e-6 + 0.5 * 4)
    assert first == pytest.approx(1 + 0.1 * 1 / (np.sqrt(2 + 0.5e-6) + 1e-3))
    again = server({"w": torch.tensor([1.0])}, updates([1.0]))["w"].item()  # no change: the first mean still pulls
    assert again == pytest.approx(1 + 0.1 * 0.5 / (np.sqrt((2 + 0.5e-6) / 2) + 1e-3))


# What happens on the way.


def test_an_absent_site_is_missing_in_its_rounds_alone():
    lose = federated.absent("1", {0, 2})
    some = updates([1.0], [2.0])
    assert [[one.site for one in lose(number, {}, some)] for number in range(3)] == [["0"], ["0", "1"], ["0"]]


def test_a_late_update_is_the_last_rounds():
    wait = federated.late("1")
    first, second = updates([1.0], [2.0]), updates([3.0], [4.0])
    assert [one.weights["w"].item() for one in wait(0, {}, first)] == [1.0]
    assert [one.weights["w"].item() for one in wait(1, {}, second)] == [3.0, 2.0]


def test_what_is_spoilt_is_one_sites_alone():
    old, some = {"w": torch.tensor([1.0])}, updates([3.0], [5.0])
    arrived = federated.spoilt("1", federated.negative)(0, old, some)
    assert [one.weights["w"].item() for one in arrived] == [3.0, -3.0]
    assert [one.weights["w"].item() for one in some] == [3.0, 5.0]
    wide = {"w": torch.zeros(2000)}
    noisy = federated.noise(3.0)(wide["w"], torch.cat([torch.ones(1000), -torch.ones(1000)]))
    assert float(noisy.std()) == pytest.approx(3.0, rel=0.1)


def test_if_nothing_arrives_the_weights_stay(checkpoint):
    model, tokenizer = grader(checkpoint)
    before = federated.trained(model)
    (at,) = sites(tokenizer, 8)
    federated.average(model, tokenizer, [at], each_rate=[1e-2], rounds=1, between=federated.absent(at.name, {0}))
    assert same(federated.trained(model), before)


# What leaks.


def test_membership_is_a_half_for_nothing_and_one_for_all():
    known, other = np.linspace(0, 1, 40), np.linspace(2, 3, 40)
    assert federated.membership(known, other, range(80)).value == 1.0
    assert federated.membership(other, known, range(80)).value == 0.0
    assert federated.membership(known, known, range(80)).value == pytest.approx(0.5)
    drawn = np.random.default_rng(0).normal(size=200)
    found = federated.membership(drawn[:100], drawn[100:], range(200))
    assert found.low < 0.5 < found.high
    with pytest.raises(ValueError, match="of some that were not"):
        federated.membership(known, [], range(40))


def test_a_harder_site_of_which_one_side_has_more_passes_for_no_member():
    """Of the easy site more reports were trained on; nothing is remembered at either."""
    easy, hard = np.linspace(0, 1, 40), np.linspace(2, 3, 40)
    inside, outside = np.concatenate([easy, hard[::4]]), np.concatenate([easy[::4], hard])
    at = ["easy"] * 40 + ["hard"] * 10 + ["easy"] * 10 + ["hard"] * 40
    assert federated.membership(inside, outside, range(100)).low > 0.6
    found = federated.membership(inside, outside, range(100), at)
    assert found.value == pytest.approx(0.5, abs=0.05) and found.low < 0.5 < found.high
    assert federated.membership(inside - 10, outside, range(100), at).value == 1.0


@needs_opacus
def test_the_gradients_of_single_reports_are_autograds(checkpoint, monkeypatch):
    model, tokenizer = grader(checkpoint)
    (at,) = sites(tokenizer, 6)
    assert federated.gradient_gap(model, tokenizer, at) < 1e-5
    # the sum of the batch in place of the mean: what the check must notice
    from opacus import GradSampleModule

    monkeypatch.setattr(
        "opacus.GradSampleModule", lambda module, loss_reduction: GradSampleModule(module, loss_reduction="sum")
    )
    assert federated.gradient_gap(model, tokenizer, at) > 1e-3


@needs_opacus
def test_without_noise_and_with_a_wide_clip_a_private_step_is_a_plain_one(checkpoint):
    def moved(how):
        model, tokenizer = grader(checkpoint)
        (at,) = sites(tokenizer, 32)
        how(model, tokenizer, at, [1e-3], 0)
        return federated.trained(model)

    # a batch of all reports: each comes with the chance 1
    private = moved(federated.privately(0.0, 1e6, batch_size=32))
    plain = moved(federated.train)
    assert same(private, plain, 1e-4)
    assert not same(moved(federated.privately(5.0, 1e-2, batch_size=32)), plain, 1e-4)


@needs_opacus
def test_two_sites_never_draw_the_same_noise(checkpoint):
    """Else the server would take one update from the other, and no noise be left."""

    def change(name, noise):
        model, tokenizer = grader(checkpoint)
        before = federated.trained(model)
        at = federated.site(name, tokenizer, rows(16))
        federated.privately(noise, 1e-3, batch_size=16)(model, tokenizer, at, [1e-3], 7)
        return torch.cat([(one - before[key]).flatten() for key, one in federated.trained(model).items()])

    assert torch.equal(change("a", 0.0), change("b", 0.0)), "the same reports, and no noise"
    one, other = change("a", 50.0), change("b", 50.0)
    assert abs(torch.corrcoef(torch.stack([one, other]))[0, 1]) < 0.1


@needs_opacus
def test_a_model_trains_on_after_a_private_round(checkpoint):
    model, tokenizer = grader(checkpoint)
    some = sites(tokenizer, 40, 40)
    at_site = federated.privately(1.0, 1.0, batch_size=16)
    history = federated.average(model, tokenizer, some, each_rate=[1e-3] * 4, rounds=2, at_site=at_site)
    again, _ = grader(checkpoint)
    federated.average(again, tokenizer, some, each_rate=[1e-3] * 4, rounds=2, at_site=at_site)
    assert same(history[-1], federated.trained(again)), "noise is drawn by the seed"
    assert federated.train(model, tokenizer, some[0], [1e-3], 0)


@needs_opacus
def test_epsilon_falls_with_noise_and_the_noise_for_an_epsilon_keeps_it():
    assert federated.epsilon(0.1, 0.03, 120) > 100 > federated.epsilon(0.5, 0.03, 120) > federated.epsilon(1, 0.03, 120)
    assert federated.epsilon(1, 0.03, 240) > federated.epsilon(1, 0.03, 120)
    for target in (1, 3, 8):
        found = federated.noise_for(target, 0.03, 120)
        assert federated.epsilon(found, 0.03, 120) <= target < federated.epsilon(found - 0.02, 0.03, 120)


@needs_opacus
def test_epsilon_of_all_records_in_every_step_is_that_of_the_gaussian_mechanism():
    """One step that takes every record: RDP alpha / (2 z^2), turned into (epsilon, delta) as Canonne et al. 2020 do."""
    z, delta, orders = 2.0, federated.DELTA, np.array(federated.ORDERS)
    by_hand = orders / (2 * z**2) + np.log1p(-1 / orders) - (np.log(delta) + np.log(orders)) / (orders - 1)
    assert federated.epsilon(z, 1.0, 1) == pytest.approx(by_hand.min(), rel=1e-6)


def test_without_opacus_the_mend_is_said(monkeypatch):
    monkeypatch.setattr(federated, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install .*\[federated\]"):
        federated.epsilon(1, 0.1, 10)
    with pytest.raises(ImportError, match="opacus is not installed"):
        federated.privately(1.0, 1.0)

"""The query bank: training captions, and none but those."""

import pytest


def bank_texts(datamodule):
    *_, bank = datamodule.test_dataloader()
    batches = list(bank)
    assert [index for batch in batches for index in batch.bank.tolist()] == list(range(len(datamodule.bank)))
    return [bytes(row.tolist()).decode().strip() for batch in batches for row in batch.token_ids]


def test_a_query_bank_holds_training_captions_alone(shapes):
    assert len(shapes().test_dataloader()) == 2
    datamodule = shapes(with_bank=True)
    texts = [text[:64].strip() for record in datamodule.corpus.records("train") for text in record.captions]
    assert bank_texts(datamodule) == texts
    chosen = []
    for seed in (0, 0, 1):
        some = shapes(bank_size=7, bank_seed=seed, with_bank=True)
        chosen.append(bank_texts(some))
        assert len(chosen[-1]) == 7
        assert set(chosen[-1]) <= set(texts)
    assert chosen[0] == chosen[1] != chosen[2]


def test_a_query_bank_leaves_out_what_is_held_out(broken):
    datamodule = broken(val_split="val", with_bank=True)
    datamodule.setup("fit")
    held_out = {text for record in datamodule.records["val"] for text in record.captions}
    assert len(held_out) == 4
    assert len(datamodule.bank) == 12
    assert held_out.isdisjoint(datamodule.bank.captions)


def test_a_query_bank_that_cannot_be_is_told(shapes, broken, tmp_path):
    with pytest.raises(ValueError, match="cannot be its queries too: evaluate another split"):
        shapes(test_split="train", with_bank=True)
    datamodule = broken(with_bank=True)
    table = tmp_path / "captions.csv"
    table.write_text(table.read_text().replace(",train", ",test"))
    with pytest.raises(
        ValueError, match=r"needs a query bank of training captions: \S+captions\.csv has no rows for the split 'train'"
    ):
        datamodule.setup("test")

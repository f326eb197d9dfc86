"""Pictures of a profile show its numbers."""

from retrieval.efficiency.profile.figures import draw_speed_up, draw_tokens_per_block


def test_a_line_falls_where_tokens_do():
    rows = [
        {"reducer": "none", "clips_at_mlp": [12, 12, 12], "tokens_at_mlp": [50, 50, 50]},
        {"reducer": "shifts", "clips_at_mlp": [12, 12, 12], "tokens_at_mlp": [50, 50, 50]},
        {"reducer": "joins", "clips_at_mlp": [12, 6, 1], "tokens_at_mlp": [50, 90, 97]},
    ]
    lines = draw_tokens_per_block(rows).axes[0].get_lines()
    assert [line.get_ydata().tolist() for line in lines] == [[600, 600, 600], [600, 540, 97]]
    assert [line.get_label() for line in lines] == ["none, shifts", "joins"]  # one line, one entry


def test_a_panel_for_each_setting_with_both_bars_of_each_reducer():
    rows = [
        {
            "reducer": name,
            "batch_size": size,
            "precision": "fp32",
            "compiled": size == 4,
            "tuning": "lora" if size == 4 else None,
            "micro_batch": 2 if size == 4 else None,
            "checkpointing": False,
            "speed_up": s,
            "speed_up_lower_quartile": s - 0.1,
            "speed_up_upper_quartile": s + 0.2,
            "gmac_ratio": g,
        }
        for size in (1, 2, 4)
        for name, s, g in (("none", 1.0, 1.0), ("tempme", 1.4, 1.5))
    ]
    panels = [axes for axes in draw_speed_up(rows).axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == [
        "encoding, batch 1, fp32",
        "encoding, batch 2, fp32",
        "training, lora, batch 4 in pieces of 2, fp32, compiled",
    ]
    assert [bar.get_width() for bar in panels[0].patches] == [1.0, 1.5, 1.0, 1.4]

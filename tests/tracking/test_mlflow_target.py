"""Which MLflow a run is sent to, and what is never shown of it."""

from pathlib import Path

import pytest

from evomerge.tracking.target import (
    local_uri,
    mlflow_environment,
    tracking_uri,
    without_credentials,
)


def test_the_database_is_in_the_run_directory_unless_the_user_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(tmp_path) == local_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking_uri(tmp_path) == "http://127.0.0.1:5000"


def test_a_shown_address_has_no_password() -> None:
    assert without_credentials("https://me:pw@host:1/x") == "https://host:1/x"
    assert without_credentials("sqlite:////a/b.db") == "sqlite:////a/b.db"
    text = "request to http://me:pw@host/api failed, see http://help or mail me@home"
    assert without_credentials(text) == text.replace("me:pw@", "")


def test_the_users_own_settings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    settings = mlflow_environment()
    assert "MLFLOW_HTTP_REQUEST_TIMEOUT" not in settings
    assert settings["MLFLOW_DISABLE_TELEMETRY"] == "true"

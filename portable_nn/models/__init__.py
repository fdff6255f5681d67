"""Models, and how they are saved and loaded."""

from __future__ import annotations

from portable_nn.models.forecast_pipeline import Forecast as Forecast
from portable_nn.models.forecast_pipeline import ForecastPipeline as ForecastPipeline
from portable_nn.models.forecaster import Forecaster as Forecaster
from portable_nn.models.forecasting import ForecastInputs as ForecastInputs
from portable_nn.models.forecasting import ForecastWindows as ForecastWindows
from portable_nn.models.forecasting import SeriesEncoder as SeriesEncoder
from portable_nn.models.forecasting import naive_forecasts as naive_forecasts
from portable_nn.models.forecasting import ridge_forecasts as ridge_forecasts
from portable_nn.models.mlp import MLP as MLP
from portable_nn.models.saving import load as load
from portable_nn.models.saving import save as save
from portable_nn.models.skipgram import SkipGram as SkipGram
from portable_nn.models.skipgram_training import train_skipgram as train_skipgram
from portable_nn.models.text_classifier import TextClassifier as TextClassifier
from portable_nn.models.text_pipeline import TextPipeline as TextPipeline
from portable_nn.models.weights import load_weights as load_weights
from portable_nn.models.weights import save_weights as save_weights
from portable_nn.models.word_scores import AnalogyAccuracy as AnalogyAccuracy
from portable_nn.models.word_scores import WordSimilarity as WordSimilarity
from portable_nn.models.word_scores import analogy_accuracy as analogy_accuracy
from portable_nn.models.word_scores import word_similarity as word_similarity
from portable_nn.models.word_vectors import WordVectors as WordVectors

"""Views of a search: terminal, tables, figures, MLflow. Losing one loses nothing."""

"""Fine-tuning of a trained model: ``--mode=finetune``."""
